package doctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/doctor/doctortest"
	"github.com/touchmark/touchmark/podman/doctor"
)

var self = doctortest.Doctor{
	Catalog: doctor.Catalog(), Package: "podman/doctor", Name: "the catalog", Least: 40,
	Gives: []string{`problem\{"([a-z-]+)"`, `checkOther\("([a-z-]+)"`},
}

func TestCatalog(t *testing.T) { self.Check(t) }

func TestManual(t *testing.T) { self.Manual(t) }
