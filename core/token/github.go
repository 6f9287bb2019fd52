package token

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"
)

// GitHub asks the runner of GitHub Actions for a token. The job needs the permission id-token: write.
type GitHub struct {
	URL      string       // ACTIONS_ID_TOKEN_REQUEST_URL
	Bearer   string       // ACTIONS_ID_TOKEN_REQUEST_TOKEN, a secret
	Audience string       // whom the token is for
	Client   *http.Client // nil is http.DefaultClient
}

// Token asks for a token. Its errors are a [*FetchError], but for a token that is malformed.
func (g GitHub) Token(ctx context.Context) (string, error) {
	u, err := url.Parse(g.URL)
	if err != nil {
		return "", &FetchError{URL: g.URL, Err: errors.New("not a URL")}
	}
	query := u.Query()
	query.Set("audience", g.Audience)
	u.RawQuery = query.Encode()
	shown := u.Scheme + "://" + u.Host + u.Path
	if err := CheckTLS(g.URL); err != nil {
		return "", &FetchError{URL: shown, Err: err}
	}
	body, status, err := ask(ctx, g.Client, u.String(), http.Header{"Authorization": {"bearer " + g.Bearer}})
	if err != nil {
		return "", &FetchError{URL: shown, Status: status, Err: err}
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", &FetchError{URL: shown, Status: status, Err: errors.New("its answer is not the JSON that was expected")} // the cause might quote the token
	}
	return check(answer.Value)
}

// ask makes a GET request whose answer has to be 200. Redirects are not followed: they could take a secret to another host.
func ask(ctx context.Context, client *http.Client, u string, header http.Header) (body []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, 0, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if client == nil {
		client = http.DefaultClient
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		if ue, ok := err.(*url.Error); ok {
			err = ue.Err // it would name the URL a second time
		}
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	switch {
	case err != nil:
		return nil, resp.StatusCode, err
	case len(body) > MaxSize:
		return nil, resp.StatusCode, errors.New("its answer is too long")
	case resp.StatusCode != http.StatusOK:
		return body, resp.StatusCode, errors.New(reason(body))
	}
	return body, resp.StatusCode, nil
}
