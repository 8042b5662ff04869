// Loads an object by cilium/ebpf: prints the name of each program that it loads, a line each.
//
//	judge-cilium OBJECT
//
// Each program is loaded by itself, with the maps that it refers to. Extensions of other programs are left out.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
)

func loads(path, name string) error {
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return err
	}
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	for _, one := range spec.Maps {
		one.Pinning = ebpf.PinNone
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return err
	}
	collection.Close()
	return nil
}

func main() {
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for name, program := range spec.Programs {
		// The library skips programs of unknown types without an error.
		if program.Type == ebpf.Extension || program.Type == ebpf.UnspecifiedProgram {
			continue
		}
		// Older versions load these as XDP programs without fragments, which are other programs.
		if strings.Contains(program.SectionName, ".frags") {
			continue
		}
		if err := loads(os.Args[1], name); err != nil {
			fmt.Fprintln(os.Stderr, name, err)
			continue
		}
		fmt.Println(name)
	}
}
