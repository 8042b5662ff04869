// An ordinary loader on cilium/ebpf: attaches XDP at an interface and a tracepoint, and reports if executions were seen.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

func must(err error, what string) {
	if err != nil {
		fmt.Println(what, err)
		os.Exit(1)
	}
}

func main() {
	must(rlimit.RemoveMemlock(), "memlock")
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	must(err, "read")
	loaded, err := ebpf.NewCollection(spec)
	must(err, "load")
	tracepoint, err := link.Tracepoint("sched", "sched_process_exec", loaded.Programs["execs"], nil)
	must(err, "tracepoint")
	defer tracepoint.Close()
	if len(os.Args) > 2 {
		at, err := net.InterfaceByName(os.Args[2])
		must(err, "interface")
		xdp, err := link.AttachXDP(link.XDPOptions{Program: loaded.Programs["packets"], Interface: at.Index})
		must(err, "xdp")
		defer xdp.Close()
		info, err := xdp.Info()
		must(err, "info")
		fmt.Println("link of type", info.Type)
	}
	for i := 0; i < 3; i++ {
		must(exec.Command("/bin/true").Run(), "true")
	}
	var value uint64
	must(loaded.Maps["counts"].Lookup(uint32(1), &value), "lookup")
	fmt.Println("executions were seen:", value >= 3)
}
