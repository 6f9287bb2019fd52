package agent

import (
	"context"
	"time"
)

// Part is a further way in which an agent enforces, such as a plugin of containerd:
// something that runs as long as the agent does, and may be out of order.
type Part struct {
	Name string // for people and metrics: "containerd NRI"
	// Run works until the context ends.
	Run func(context.Context)
	// Status says how it is; its Name is filled in by the agent.
	Status func() PartStatus
}

// PartStatus says how a Part is.
type PartStatus struct {
	Name string `json:"name"`
	// Connected says that the part is asked.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of Connected
	Peer      string    `json:"peer,omitempty"` // who asks it
	Error     string    `json:"error,omitempty"`
	Admitted  uint64    `json:"admitted"`
	Refused   uint64    `json:"refused"`
}

func (p Part) read() PartStatus {
	s := p.Status()
	s.Name = p.Name
	return s
}
