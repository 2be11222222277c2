package story

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// canaryCmd sets $CANARY to a canary that the ledger beside the sandbox has a
// verdict of.
func canaryCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: canary REPORT")
	}
	var report struct {
		Packet struct{ Files []struct{ Name string } }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if len(report.Packet.Files) == 0 {
		ts.Fatalf("%s names no files", args[0])
	}
	// Ids are a run's with a number.
	id := regexp.MustCompile(`"canary":"([0-9]{8}-[a-z0-9]{6}-[0-9]+)"`)
	err := filepath.Walk(ts.MkAbs("sandbox/ledger/tile/entries"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || ts.Getenv("CANARY") != "" {
			return err
		}
		data, err := os.ReadFile(path)
		if m := id.FindSubmatch(data); m != nil {
			ts.Setenv("CANARY", string(m[1]))
		}
		return err
	})
	ts.Check(err)
}

// byhandCmd runs the commands that a packet's own README gives, in the folder that
// it was unpacked into.
func byhandCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: byhand DIR")
	}
	dir := ts.MkAbs(args[0])
	readme, err := os.ReadFile(filepath.Join(dir, "README.txt"))
	ts.Check(err)
	blocks := regexp.MustCompile(`(?s)--8<--\n(.*?)-->8--\n`).FindAllSubmatch(readme, -1)
	if len(blocks) < 4 {
		ts.Fatalf("README.txt has %d blocks of commands", len(blocks))
	}
	var script bytes.Buffer
	for _, b := range blocks {
		script.Write(b[1])
	}
	cmd := exec.Command("sh", "-e", "-c", script.String())
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Run())
}
