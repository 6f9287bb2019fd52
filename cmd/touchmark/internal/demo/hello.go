package demo

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// helloProgram makes a whole Linux executable that prints a line and exits. It
// is a static ELF file of a few hundred bytes with one segment, so that the
// demo's image is real and runs, without a compiler or a base image.
func helloProgram(architecture, message string) ([]byte, error) {
	var machine uint16
	var code []byte
	switch architecture {
	case "amd64":
		machine, code = 62, amd64Code(uint32(len(message)))
	case "arm64":
		machine, code = 183, arm64Code(uint16(len(message)))
	default:
		return nil, fmt.Errorf("no program for architecture %q", architecture)
	}
	const base, header = 0x400000, 64 + 56 // ELF header, one program header
	size := uint64(header + len(code) + len(message))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), machine, uint32(1), // an executable, version 1
		uint64(base + header), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		// The segment: load the whole file, readable and executable.
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		if err := binary.Write(&b, binary.LittleEndian, field); err != nil {
			return nil, err
		}
	}
	b.Write(code)
	b.WriteString(message)
	return b.Bytes(), nil
}

// amd64Code is write(1, message, length) and exit(0); the message follows it.
func amd64Code(length uint32) []byte {
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16] (the message)
		0xba, 0, 0, 0, 0, // mov edx, length
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}
	binary.LittleEndian.PutUint32(code[18:], length)
	return code
}

// arm64Code is the same for 64-bit ARM.
func arm64Code(length uint16) []byte {
	var code []byte
	for _, instruction := range []uint32{
		0xd2800020,                     // mov x0, #1
		0x100000e1,                     // adr x1, #28 (the message)
		0xd2800002 | uint32(length)<<5, // mov x2, #length
		0xd2800808,                     // mov x8, #64 (write)
		0xd4000001,                     // svc #0
		0xd2800000,                     // mov x0, #0
		0xd2800ba8,                     // mov x8, #93 (exit)
		0xd4000001,                     // svc #0
	} {
		code = binary.LittleEndian.AppendUint32(code, instruction)
	}
	return code
}
