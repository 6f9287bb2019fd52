package stack

import (
	"crypto/x509"
	"syscall"
)

func (s *Stack) authorityCertificate() *x509.Certificate {
	return must(readCertificate(certificatePath(s.directory, "ca-intermediate")))
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }
