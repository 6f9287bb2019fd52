package token

import (
	"errors"
	"net/url"

	"github.com/touchmark/touchmark/core/loopback"
)

// CheckTLS refuses plain HTTP to other machines: an identity token lets anyone who sees it sign in its owner's name.
func CheckTLS(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback.Host(u.Hostname()) {
		return nil
	}
	return errors.New("refusing plain HTTP to another machine where an identity token is at stake")
}
