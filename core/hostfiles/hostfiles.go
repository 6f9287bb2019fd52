// Package hostfiles changes a host's configuration files: shown first, applied
// so that being interrupted harms nothing, and undone byte for byte. What a file
// is to hold is the business of an installer, such as podman/install and
// containerd/install.
//
//	place := hostfiles.Place{Record: "/etc/touchmark/install/podman.json", Client: "podman"}
//	last, err := place.Installed() // nil: nothing is
//	was, existed, _, err := last.Before("/etc/containers/policy.json")
//	...
//	changes, err := hostfiles.Wanted{Place: place, Last: last, Files: files}.Plan()
//	fmt.Print(changes.Diff()) // nothing is written until here
//	err = changes.Apply(ctx)
//	...
//	changes, err = place.Removal(hostfiles.Edited{})
//	err = changes.Apply(ctx)
//
// # Steps
//
// A record of every file as it was is on disk before the first is changed. Files
// are written in the order in which they are wanted, and restored in the opposite
// one: who orders them so that what demands something comes before what fulfils
// it leaves, interrupted by kill -9 or a power cut, a host that refuses more than
// before, and never less. Planning and applying again finishes, or undoes it.
// Each file is replaced in one step.
//
// Planning again starts from the files as they were before the first time: what
// is no longer wanted goes back, what is wanted stays. A file that somebody
// edited in between is an *[EditedError], and nothing is changed.
//
// # Several installers
//
// Records lie side by side. Of a file that two installers wrote alike, such as a
// policy, the last to go takes it away. Of a YAML file that both and people write,
// each has its own fields ([File.Fields]).
//
// The record is JSON, mode 0600: it holds files as they were. A symbolic link in
// the place of a file is refused.
package hostfiles

import (
	"context"
	"io/fs"
)

// Place is where an installer's record lies, and whom what it writes belongs to.
type Place struct {
	// Record is the path of the record. Its directory is made with mode 0700.
	Record string
	// Root, if not "", is the directory that holds every file, such as a mounted
	// image of a host: a symbolic link in it that leads out is refused.
	Root string
	// Client is the word after "touchmark uninstall", for errors.
	Client string
	// Denied is what errors advise whoever may not read the record.
	Denied string
	// User says that the files are a user's, in directories that nobody else
	// enters; otherwise they are the host's, for everybody to read.
	User bool
	// UID and GID are whom new files belong to.
	UID, GID int
}

// File is a file as it is to be.
type File struct {
	Path string
	Data []byte
	// Link, if not "", makes it a symbolic link that leads there.
	Link string
	// Fields, if not nil, are the part of a YAML file, shared with other installers
	// and people, that is to hold: Data and Link say nothing then, and others may
	// edit the rest of it. Uninstalling takes the fields out, or restores the file
	// to the byte if nobody did.
	Fields []Field
	// Mode are the permissions of a file that is not there yet. One that is keeps
	// its own, except that others than its owner can no longer write to it.
	Mode fs.FileMode
	// Input says that somebody handed the file in: planning again without it
	// leaves it there.
	Input bool
}

// Wanted is how a host is to be.
type Wanted struct {
	Place Place
	// Settings are remembered as JSON, see [Record.Decode].
	Settings any
	// Last is the record of what is installed, nil if nothing is.
	Last *Record
	// Files are in the order in which they are to be written.
	Files []File
	// Directories are made besides those of the files.
	Directories []string
	// Keys are files that hold keys. Generate makes them if one is missing;
	// uninstalling takes those away that were missing, without a comparison, since
	// keys are rotated.
	Keys     []string
	Generate func(context.Context) error
	// Notes are what people should know besides the diff, one sentence each.
	Notes []string
}
