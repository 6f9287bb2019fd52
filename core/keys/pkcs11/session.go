//go:build cgo

package pkcs11

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// modules are the drivers that are loaded. One is initialised once in a process, and not finalised: others may be using it.
type modules struct {
	mu     sync.Mutex
	loaded map[string]*module // by path
}

// module is a driver. Being logged in is a state of the process, not of a session: so one operation at a time.
type module struct {
	mu  sync.Mutex
	ctx *pkcs11.Ctx
}

func (m *modules) load(path string) (*module, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mod := m.loaded[path]; mod != nil {
		return mod, nil
	}
	ctx := pkcs11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("loading PKCS#11 driver %s: it is missing, or no PKCS#11 driver", path)
	}
	if err := ctx.Initialize(); err != nil && !isError(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		ctx.Destroy()
		return nil, fmt.Errorf("initialising PKCS#11 driver %s: %w", path, err)
	}
	if m.loaded == nil {
		m.loaded = map[string]*module{}
	}
	mod := &module{ctx: ctx}
	m.loaded[path] = mod
	return mod, nil
}

func isError(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && uint(e) == code
}

// session is an open session with a token, whose driver belongs to it alone until it is closed.
type session struct {
	*module
	handle pkcs11.SessionHandle
	name   string // the token's, for people
}

// connect opens a session with the one token that a URI names.
func (b *Backend) connect(u *URI) (*session, error) {
	mod, err := b.modules.load(u.ModulePath)
	if err != nil {
		return nil, err
	}
	mod.mu.Lock()
	s := &session{module: mod, name: u.tokenName()}
	slot, err := s.slot(u)
	if err == nil {
		s.handle, err = mod.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	}
	if err != nil {
		mod.mu.Unlock()
		return nil, fmt.Errorf("opening %s: %w", s.name, err)
	}
	return s, nil
}

func (s *session) close() {
	_ = s.ctx.CloseSession(s.handle) // the last session of a process logs it out
	s.mu.Unlock()
}

// slot finds the token.
func (s *session) slot(u *URI) (uint, error) {
	slots, err := s.ctx.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var found []uint
	for _, slot := range slots {
		info, err := s.ctx.GetTokenInfo(slot)
		if err != nil {
			continue // pulled out in between
		}
		if u.SlotID != nil && *u.SlotID != slot {
			continue
		}
		// Texts are padded with spaces, and by some drivers with zeros.
		trim := func(text string) string { return strings.TrimRight(text, " \x00") }
		if matches(u.Token, trim(info.Label)) && matches(u.Manufacturer, trim(info.ManufacturerID)) &&
			matches(u.Model, trim(info.Model)) && matches(u.Serial, trim(info.SerialNumber)) {
			found = append(found, slot)
		}
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("no such token among %d", len(slots))
	case 1:
		return found[0], nil
	}
	return 0, fmt.Errorf("%d tokens are named so: add serial= to the URI", len(found))
}

func matches(want, have string) bool { return want == "" || want == have }

// login shows the PIN. A wrong one is an error at once: tokens lock themselves after a few.
func (s *session) login(pin []byte) error {
	err := s.ctx.Login(s.handle, pkcs11.CKU_USER, string(pin))
	switch {
	case err == nil || isError(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case isError(err, pkcs11.CKR_PIN_INCORRECT), isError(err, pkcs11.CKR_PIN_LEN_RANGE), isError(err, pkcs11.CKR_PIN_INVALID):
		return fmt.Errorf("logging in to %s: the PIN is wrong", s.name)
	case isError(err, pkcs11.CKR_PIN_LOCKED):
		return fmt.Errorf("logging in to %s: the PIN is locked after too many wrong ones", s.name)
	}
	return fmt.Errorf("logging in to %s: %w", s.name, err)
}

// one finds the one object of a class that a URI names; ok is false if there is none.
func (s *session) one(u *URI, class uint) (object pkcs11.ObjectHandle, ok bool, err error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if u.Object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, u.Object))
	}
	if len(u.ID) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, u.ID))
	}
	if err := s.ctx.FindObjectsInit(s.handle, template); err != nil {
		return 0, false, fmt.Errorf("looking for the key on %s: %w", s.name, err)
	}
	found, _, err := s.ctx.FindObjects(s.handle, 2)
	if finalErr := s.ctx.FindObjectsFinal(s.handle); err == nil {
		err = finalErr
	}
	if err != nil {
		return 0, false, fmt.Errorf("looking for the key on %s: %w", s.name, err)
	}
	switch len(found) {
	case 0:
		return 0, false, nil
	case 1:
		return found[0], true, nil
	}
	return 0, false, fmt.Errorf("looking for the key on %s: several keys are named so, add id= to the URI", s.name)
}
