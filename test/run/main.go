// Command run runs go test with its own arguments, prints the same output, and finally lists the
// reasons for skipped tests, each once.
//
//	go run ./test/run -short ./...
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
	r := newReport(os.Stdout)
	read := r.read(out)
	if read != nil {
		fmt.Fprintln(os.Stderr, "run:", read)
	}
	failed := cmd.Wait() != nil
	r.printSkips()
	if failed || read != nil {
		os.Exit(1)
	}
}
