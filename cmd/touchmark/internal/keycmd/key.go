// Package keycmd has the commands that make, import and show signing keys.
package keycmd

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/keys"
)

const passwordHelp = `The password is read from COSIGN_PASSWORD, from the file that TOUCHMARK_PASSWORD_FILE
names (mode 0600), or from the terminal.`

// NewGenerateKeyPair makes touchmark generate-key-pair.
func NewGenerateKeyPair() *cobra.Command {
	var prefix, kms string
	cmd := &cobra.Command{
		Use:   "generate-key-pair",
		Short: "Make a signing key: in two files, or in a KMS",
		Long: `generate-key-pair makes an ECDSA P-256 key. The private half goes into PREFIX.key,
encrypted with a password in cosign's format and readable by its owner only, the
public half into PREFIX.pub. No file is ever overwritten. cosign reads these files,
and touchmark reads cosign's.

With --kms the key is made in a service and never leaves it; only PREFIX.pub is
written. See docs/keys.md for the references.

` + passwordHelp + `

Exit status: 0 made, 2 wrong usage, 3 could not be made.`,
		Example: `  touchmark generate-key-pair --output-key-prefix release
  touchmark generate-key-pair --kms awskms:///alias/release`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kms != "" {
				return generateInKMS(cmd, kms, prefix)
			}
			if err := keyFilesAreNew(prefix+".key", prefix+".pub"); err != nil {
				return exit.Usage(err) // before a password is asked for
			}
			password, err := keyopen.NewPassword(cmd)
			if err != nil {
				return exit.Usage(err)
			}
			key, err := keys.Generate(keys.P256)
			if err != nil {
				return exit.Undecided(err)
			}
			return writeKeyPair(cmd, prefix, key, password)
		},
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "touchmark", "`name` of the files, before .key and .pub")
	cmd.Flags().StringVar(&kms, "kms", "", "make the key in a service: `reference`, such as awskms:///alias/release")
	return cmd
}

func generateInKMS(cmd *cobra.Command, ref, prefix string) error {
	if !keys.IsRemote(ref) {
		return exit.Usage(fmt.Errorf("--kms: %s is no reference to a KMS", ref))
	}
	if err := keyFilesAreNew(prefix + ".pub"); err != nil {
		return exit.Usage(err)
	}
	pub, err := keyopen.Remote(nil).Create(cmd.Context(), ref)
	if err != nil {
		return exit.Undecided(err)
	}
	if err := keys.WritePublic(prefix+".pub", pub); err != nil {
		return exit.Undecided(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "made key:   %s\npublic key: %s.pub\n", keys.Redact(ref), prefix)
	return nil
}

// NewImportKeyPair makes touchmark import-key-pair.
func NewImportKeyPair() *cobra.Command {
	var prefix, file string
	cmd := &cobra.Command{
		Use:   "import-key-pair",
		Short: "Encrypt a key file that another program made",
		Long: `import-key-pair reads a private key (PEM: PKCS#8, "EC PRIVATE KEY" or "RSA PRIVATE
KEY"; its file readable by its owner only) and writes it to PREFIX.key as
generate-key-pair would have, and its public half to PREFIX.pub. No file is ever
overwritten, and the file that was read stays: delete it.

` + passwordHelp + `

Exit status: 0 imported, 2 wrong usage, 3 could not be written.`,
		Example: `  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain.pem
  touchmark import-key-pair --key plain.pem --output-key-prefix release`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := keyFilesAreNew(prefix+".key", prefix+".pub"); err != nil {
				return exit.Usage(err)
			}
			key, err := keys.Load(file)
			if errors.Is(err, keys.ErrPassphrase) {
				err = fmt.Errorf("--key: %s is encrypted already, and can be used as it is", file)
			}
			if err != nil {
				return exit.Usage(err)
			}
			password, err := keyopen.NewPassword(cmd)
			if err != nil {
				return exit.Usage(err)
			}
			return writeKeyPair(cmd, prefix, key, password)
		},
	}
	cmd.Flags().StringVarP(&file, "key", "k", "", "private key `file` to import")
	cmd.Flags().StringVarP(&prefix, "output-key-prefix", "o", "import-touchmark", "`name` of the files, before .key and .pub")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

// NewPublicKey makes touchmark public-key.
func NewPublicKey() *cobra.Command {
	var ref, outfile string
	cmd := &cobra.Command{
		Use:   "public-key",
		Short: "Print the public half of a key",
		Long: `public-key prints the public half of a private key, PEM as policies have it. The
key is a file, env://NAME, or a reference to a KMS or a PKCS#11 token, see
docs/keys.md.

` + passwordHelp + `
A token's PIN is read from COSIGN_PKCS11_PIN, from the file that
TOUCHMARK_PKCS11_PIN_FILE names, or from the terminal.

Exit status: 0 printed, 2 wrong usage, 3 could not be had.`,
		Example: `  touchmark public-key --key release.key
  touchmark public-key --key 'pkcs11:token=acme;object=release'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pub, err := publicHalf(cmd, ref)
			if err != nil {
				return err
			}
			if outfile != "" {
				if err := keys.WritePublic(outfile, pub); err != nil {
					return exit.Undecided(err)
				}
				return nil
			}
			text, err := keys.MarshalPublic(pub)
			if err != nil {
				return exit.Undecided(err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&ref, "key", "", "the `key`: a file, env://NAME, or a reference to a KMS or a token")
	cmd.Flags().StringVar(&outfile, "outfile", "", "new `file` to write it to, instead of printing it")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

func publicHalf(cmd *cobra.Command, ref string) (crypto.PublicKey, error) {
	o := keyopen.Private(cmd)
	if keys.IsRemote(ref) {
		pub, err := keys.OpenPublic(cmd.Context(), ref, o)
		if err != nil {
			return nil, exit.Undecided(err)
		}
		return pub, nil
	}
	key, err := keys.Open(cmd.Context(), ref, o)
	if err != nil {
		return nil, exit.Usage(err)
	}
	return key.Public(), nil
}

// writeKeyPair writes both halves, the private one first: a public key without it would be mistaken for one that works.
func writeKeyPair(cmd *cobra.Command, prefix string, key crypto.Signer, password []byte) error {
	if err := keys.WriteEncrypted(prefix+".key", key, password); err != nil {
		return exit.Undecided(err)
	}
	if err := keys.WritePublic(prefix+".pub", key.Public()); err != nil {
		return exit.Undecided(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "private key: %s.key\npublic key:  %s.pub\n", prefix, prefix)
	if len(password) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "touchmark: the password is empty: whoever can read the private key's file can sign with it")
	}
	return nil
}

func keyFilesAreNew(paths ...string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("writing key: %s: %w", path, fs.ErrExist)
		}
	}
	return nil
}
