package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

// maxConfig bounds an image's configuration, in bytes. Real ones have a few
// KiB.
const maxConfig = 1 << 20

// configs are the configurations of an image, or of each platform of an index,
// by platform ("linux/arm64"): what policy-controller gives to predicates that
// ask for it.
func (j *judgement) configs(ctx context.Context) (map[string]json.RawMessage, error) {
	manifest, err := j.read(ctx, j.req.Digest)
	if err != nil {
		return nil, err
	}
	manifests := []*attach.Manifest{manifest}
	if manifest.MediaType.IsIndex() {
		manifests = nil
		platforms, err := j.platforms(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range platforms {
			m, err := j.read(ctx, g[0].digest)
			if err != nil {
				return nil, err
			}
			manifests = append(manifests, m)
		}
	}
	configs := make(map[string]json.RawMessage)
	for _, m := range manifests {
		config, platform, err := j.config(ctx, m)
		if err != nil {
			return nil, err
		}
		configs[platform] = config
	}
	return configs, nil
}

func (j *judgement) read(ctx context.Context, digest v1.Hash) (*attach.Manifest, error) {
	j.verdict.ManifestRequests++
	return attach.Read(ctx, j.source, digest.String())
}

// config reads one image's configuration, and which platform it says it is for.
func (j *judgement) config(ctx context.Context, m *attach.Manifest) (text json.RawMessage, platform string, err error) {
	if m.Config == nil || m.Config.Size > maxConfig {
		return nil, "", fmt.Errorf("%s has no configuration of at most %d bytes", m.Digest, maxConfig)
	}
	blob, err := attach.OpenBlob(ctx, j.source, *m.Config)
	if err != nil {
		return nil, "", err
	}
	defer blob.Close()
	if text, err = io.ReadAll(blob); err != nil {
		return nil, "", err
	}
	var config struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, "", fmt.Errorf("configuration of %s: %w", m.Digest, err)
	}
	return text, (&v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}).String(), nil
}
