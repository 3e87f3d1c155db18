package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

// peakRssKib is the most memory this program has had resident. getrusage is
// asked only where the kernel has no VmHWM: on Linux its figure starts at that
// of the process which started this one, whatever that one's size.
func peakRssKib() int64 {
	if status, err := os.Open("/proc/self/status"); err == nil {
		defer status.Close()
		for lines := bufio.NewScanner(status); lines.Scan(); {
			var kib int64
			if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
				return kib
			}
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return int64(usage.Maxrss)
}
