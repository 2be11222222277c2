// Command bundle writes the functions as zip files for AWS Lambda.
//
//	go -C tests run ./bundle -out DIR [-with DIR]
//	go -C tests run ./bundle -bench [-rounds N]
//
// Each file holds one program named bootstrap, for the runtime provided.al2023
// on arm64, and beside it what is in the folder of -with (auditcanary.yaml and what
// that names), but for stage.yml. The same source and Go version give the same bytes: no
// paths, no times, no order but the plan's. It prints name, size and SHA-256 of each, and
// refuses one that is larger than it may be. With -bench it writes none, and prints what
// each function weighs and takes to start beside a hello-world.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

// functions that are deployed; the command auditcanary is for a terminal.
var functions = []string{"inject", "confirm", "sweep", "packet", "report", "trigger"}

func main() {
	out := flag.String("out", filepath.Join("..", "out", "package"), "write the zip files to `DIR`")
	with := flag.String("with", "", "put what is in `DIR` beside each program")
	measure := flag.Bool("bench", false, "print what each function weighs and takes to start")
	rounds := flag.Int("rounds", 15, "start each `N` times")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	do := func() error { return bundle(ctx, *out, *with, os.Stdout) }
	if *measure {
		do = func() error { return bench(ctx, max(*rounds, 1), os.Stdout) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func bundle(ctx context.Context, dir, with string, report io.Writer) error {
	beside, err := besides(with)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "auditcanary-bundle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, name := range functions {
		fmt.Fprintf(report, "building %s for linux/arm64\n", name)
		bin := filepath.Join(tmp, name)
		if err := build(ctx, name, "arm64", bin); err != nil {
			return err
		}
		program, err := os.ReadFile(bin)
		if err != nil {
			return err
		}
		data, err := archive(program, beside)
		if err != nil {
			return fmt.Errorf("zip %s: %w", name, err)
		}
		if len(data) > maxZip {
			return fmt.Errorf("zip %s: %d bytes, and more than %d is more than a function needs: see what it links anew (go -C tests test ./bundle)", name, len(data), maxZip)
		}
		file := filepath.Join(dir, name+".zip")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(report, "%s\t%d bytes\tsha256 %x\n", file, len(data), sha256.Sum256(data))
	}
	return nil
}

// maxZip is the size of the largest zip file, in bytes.
const maxZip = 15_000_000

// tags of the files for Lambda: without the RPC loop of the old go1.x runtime, and without
// the Functions Framework (see shared/host/noframework.go).
const tags = "lambda.norpc,lambda"

// build compiles one function, or the hello-world, as it is for Lambda.
func build(ctx context.Context, name, arch, out string) error {
	pkg, dir := "./functions/"+name, ".."
	if name == hello {
		pkg, dir = "./bundle/hello", "."
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-tags", tags, "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	return nil
}

// maxBeside bounds what lies beside a program, in bytes.
const maxBeside = 64 << 20

// besides reads what is in a folder, by its path there; none if there is no folder. A
// signing key is refused: whoever may read the function could sign.
func besides(dir string) (map[string][]byte, error) {
	out := map[string][]byte{}
	if dir == "" {
		return out, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	size := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "stage.yml" {
			return err
		}
		data, err := fs.ReadFile(root.FS(), name)
		if err != nil {
			return err
		}
		if size += len(data); size > maxBeside {
			return fmt.Errorf("%s holds more than %d bytes", dir, maxBeside)
		}
		if bytes.Contains(data, []byte("PRIVATE+KEY")) || bytes.Contains(data, []byte("PRIVATE KEY-----")) {
			return fmt.Errorf("%s is a private key: keep it in Secrets Manager or KMS", filepath.Join(dir, name))
		}
		out[name] = data
		return nil
	})
	return out, err
}

// archive returns the zip file that holds the program as bootstrap, and what is beside it.
func archive(program []byte, beside map[string][]byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	add := func(name string, mode fs.FileMode, data []byte) error {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write(data)
		}
		return err
	}
	if err := add("bootstrap", 0o755, program); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(beside)) {
		if err := add(name, 0o644, beside[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
