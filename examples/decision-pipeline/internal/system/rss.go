package system

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// peakRSS is the largest resident size that a process has had so far, in bytes. Where the system has no /proc, it is what this process's
// runtime has obtained from the system, and 0 for another process.
func peakRSS(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil {
		if _, rest, ok := bytes.Cut(b, []byte("VmHWM:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				if kb, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil {
					return kb << 10
				}
			}
		}
	}
	if err == nil || pid != os.Getpid() {
		return 0
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
