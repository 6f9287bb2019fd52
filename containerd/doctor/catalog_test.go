package doctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/containerd/doctor"
	"github.com/touchmark/touchmark/core/doctor/doctortest"
)

var self = doctortest.Doctor{
	Catalog: doctor.Catalog(), Package: "containerd/doctor", Name: "containerd's catalog", Least: 40,
	Gives: []string{`checkTree\("([a-z-]+)"`}, Fixes: "fix.go",
}

func TestCatalog(t *testing.T) { self.Check(t) }

func TestManual(t *testing.T) { self.Manual(t) }
