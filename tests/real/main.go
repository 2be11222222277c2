// Command real takes canaries the whole way where nothing stands in for the world: a real
// API server enforces RBAC and writes its own audit log, a real log store answers.
//
// It builds both once, from their modules, into a cache; it starts them on loopback, sets
// the cluster up with what `auditcanary plan` prints, runs every scenario for clusters
// through the ordinary program, and leaves a packet that verifies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/auditcanary/auditcanary/tests/real/cluster"
	"github.com/auditcanary/auditcanary/tests/real/stores"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := flag.String("out", "../out/real", "where to leave the ledger and the packet")
	warm := flag.Bool("warm", false, "only say, by the exit code, whether the programs are built")
	flag.Parse()
	if *warm {
		_, err := cluster.Built()
		_, err2 := stores.VictoriaLogs.Binary()
		if err := errors.Join(err, err2); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if err := show(ctx, *out); err != nil {
		fmt.Fprintln(os.Stderr, "real:", err)
		os.Exit(1)
	}
}

func show(ctx context.Context, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := cluster.Built(); errors.Is(err, cluster.ErrNotBuilt) {
		fmt.Printf("Building kube-apiserver %s and etcd from their modules: once, about 14 minutes of processor time.\n", cluster.Version)
	}
	if _, err := cluster.Build(ctx); err != nil {
		return err
	}
	if _, err := stores.VictoriaLogs.Build(ctx); err != nil {
		return err
	}
	bin, err := buildProgram(ctx, filepath.Join(filepath.Dir(out), "bin"))
	if err != nil {
		return err
	}
	fmt.Printf("built in %s\n", time.Since(began).Round(time.Second))

	began = time.Now()
	if err := clear(out); err != nil {
		return err
	}
	w, err := newWorld(ctx, options{dir: out, bin: bin, late: 30 * time.Second})
	if err != nil {
		return err
	}
	defer w.stop()
	fmt.Printf("kube-apiserver %s is up with its etcd, its webhook delivers audit events to VictoriaLogs %s,\nand what `auditcanary plan` prints is applied. %s.\n", cluster.Version, stores.VictoriaLogs.Version, time.Since(began).Round(time.Second))
	fmt.Println("VictoriaLogs neither signs nor locks what it holds: that is accepted by two exceptions, and shown.")
	fmt.Println("An administrator waited, as the canaries' account, for their fence to stand: such records are reported as imitations, as they should be.")
	fmt.Println("\n$ auditcanary run")
	if _, err := w.run(ctx, os.Stdout, "run"); err != nil { // the exit code says that nothing is proven without an exception
		return err
	}
	if err := w.proven(ctx); err != nil {
		return err
	}
	packet, key := filepath.Join(out, "packet.zip"), filepath.Join(out, "signing.key.pub")
	for _, args := range [][]string{{"sweep"}, {"ledger", "verify"}, {"report", "--format", "html", "-o", filepath.Join(out, "report.html")}, {"packet", "-o", packet}, {"verify", packet, "--key", key, "--rejudge"}} {
		fmt.Printf("\n$ auditcanary %s\n", strings.ReplaceAll(strings.Join(args, " "), out+string(filepath.Separator), ""))
		if code, err := w.run(ctx, os.Stdout, args...); err != nil || code != 0 {
			return fmt.Errorf("%s (exit %d): %w", args[0], code, err)
		}
	}
	fmt.Printf("\nLeft in %s: packet.zip, report.html, ledger/, auditcanary.yaml, cluster/audit.log. %s without building.\n", out, time.Since(began).Round(time.Second))
	return nil
}

// buildProgram builds auditcanary.
func buildProgram(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "auditcanary")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./functions/auditcanary")
	cmd.Dir = root()
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build auditcanary: %w\n%s", err, said)
	}
	return bin, nil
}

// root of the repository, seen from tests and from tests/real.
func root() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scenarios")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ".."
}

// clear empties the folder of an earlier run; it removes nothing that no run made.
func clear(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(out, "auditcanary.yaml")); err != nil {
			return fmt.Errorf("%s is not empty and holds no earlier run: choose another folder with -out", out)
		}
	}
	return errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755))
}
