package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

// peakRssKib is the most memory this program has had resident since the last
// resetPeak. getrusage is asked only where the kernel has no VmHWM: on Linux its
// figure starts at that of the process which started this one, whatever that
// one's size.
func peakRssKib() int64 {
	if kib := statusKib("VmHWM"); kib > 0 {
		return kib
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return int64(usage.Maxrss)
}

// rssKib is what is resident now; 0 where the kernel does not tell.
func rssKib() int64 { return statusKib("VmRSS") }

// resetPeak lets the peak begin anew, where the kernel can.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func statusKib(field string) int64 {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), field+": %d kB", &kib); n == 1 {
			return kib
		}
	}
	return 0
}
