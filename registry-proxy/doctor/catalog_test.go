package doctor_test

import (
	"testing"

	"github.com/touchmark/touchmark/core/doctor/doctortest"
	"github.com/touchmark/touchmark/registry-proxy/doctor"
)

var self = doctortest.Doctor{
	Catalog: doctor.Catalog(), Package: "registry-proxy/doctor", Name: "the proxy's catalog", Least: 40,
	Without: []string{"agent.go"}, Gives: []string{`(?:checkTree|checkSecret)\("([a-z-]+)"`}, Fixes: "fix.go",
}

func TestCatalog(t *testing.T) { self.Check(t) }

func TestManual(t *testing.T) { self.Manual(t) }
