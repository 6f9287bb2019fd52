//go:build containers_image_openpgp

// Command policyjudge says whether containers/image allows images, as podman, skopeo, buildah and CRI-O ask it before they copy one: by policy.json and by the
// signatures that it finds. It is built with a release that is newer than those of the clients that the tests have.
//
//	policyjudge -policy FILE -registries.d DIR -registries.conf FILE <references >verdicts
//
// It reads lines of a [Question] and writes one line of an [Answer] for each, in the same order, all in JSON. An index is judged as a client on linux/amd64 does
// it: by the manifest of that platform. There is no access but to the files that are named, and none to credentials.
//
// It is a module of its own, since its dependencies cannot be had together with the other oracles'. Build it with -tags
// containers_image_openpgp,containers_image_storage_stub: without the first one containers/image needs GPGME.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// timeout bounds the judging of one image. Registries of the tests hang on purpose, and those whom it asks for signatures wait for some seconds.
const timeout = time.Minute

// Question is an image.
type Question struct {
	Reference string `json:"reference"` // host/repository:tag or @digest
}

// Answer is what containers/image says.
type Answer struct {
	Reference string `json:"reference"`
	Allowed   bool   `json:"allowed"`
	Error     string `json:"error,omitempty"` // why it is not
}

func main() {
	policy := flag.String("policy", "", "the `file` policy.json")
	registriesD := flag.String("registries.d", "", "the `directory` registries.d")
	registriesConf := flag.String("registries.conf", "", "the `file` registries.conf")
	workers := flag.Int("workers", 8, "how many images are judged at once")
	flag.Parse()
	// This machine's own settings and credentials have no say.
	const none = "/proc/self/none"
	sys := &types.SystemContext{
		SignaturePolicyPath: *policy, RegistriesDirPath: *registriesD, SystemRegistriesConfPath: *registriesConf, SystemRegistriesConfDirPath: none,
		AuthFilePath: none, DockerPerHostCertDirPath: none, OSChoice: "linux", ArchitectureChoice: "amd64",
	}
	if err := run(sys, *workers, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "policyjudge:", err)
		os.Exit(1)
	}
}

func run(sys *types.SystemContext, workers int, in io.Reader, out io.Writer) error {
	policy, err := signature.DefaultPolicy(sys)
	if err != nil {
		return fmt.Errorf("reading policy: %w", err)
	}
	var answers []*Answer
	var wait sync.WaitGroup
	slots := make(chan struct{}, workers)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var q Question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return fmt.Errorf("reading question %d: %w", len(answers)+1, err)
		}
		a := &Answer{Reference: q.Reference}
		answers = append(answers, a)
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			if err := judge(ctx, sys, policy, q.Reference); err != nil {
				a.Error = err.Error()
			} else {
				a.Allowed = true
			}
		})
	}
	wait.Wait()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading questions: %w", err)
	}
	enc := json.NewEncoder(out)
	for _, a := range answers {
		if err := enc.Encode(a); err != nil {
			return fmt.Errorf("writing answers: %w", err)
		}
	}
	return nil
}

// judge asks about one image, in the order of containers/image's own copy.
func judge(ctx context.Context, sys *types.SystemContext, policy *signature.Policy, reference string) error {
	ref, err := docker.ParseReference("//" + reference)
	if err != nil {
		return err
	}
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return fmt.Errorf("initializing source: %w", err)
	}
	defer src.Close()
	unparsed := image.UnparsedInstance(src, nil)
	text, mediaType, err := unparsed.Manifest(ctx)
	if err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		list, err := manifest.ListFromBlob(text, mediaType)
		if err != nil {
			return err
		}
		platform, err := list.ChooseInstance(sys)
		if err != nil {
			return err
		}
		unparsed = image.UnparsedInstance(src, &platform)
	}
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer pc.Destroy()
	switch allowed, err := pc.IsRunningImageAllowed(ctx, unparsed); {
	case err != nil:
		return fmt.Errorf("source image rejected: %w", err)
	case !allowed:
		return errors.New("source image rejected")
	}
	return nil
}
