// Package cluster runs an unchanged kube-apiserver with its etcd on loopback.
package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Options say what a cluster is like.
type Options struct {
	// Dir for its data, certificates and logs.
	Dir string
	// Policy is the audit policy, YAML.
	Policy string
	// Webhook is where event lists are delivered to; "": nowhere.
	Webhook string
}

// Cluster is one that runs.
type Cluster struct {
	URL string
	// AuditLog is the file that the API server writes its events to.
	AuditLog string

	dir       string
	ca        []byte // PEM
	client    *http.Client
	processes []*process
}

// Tokens of the users there are; the group of the injector is what Manifests binds.
const (
	adminToken    = "admin-of-a-cluster-on-loopback"
	injectorToken = "injector-of-a-cluster-on-loopback"
)

// Start starts etcd and the API server, and waits until that is ready. The caller stops
// the cluster; should the caller die, it dies too.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	bin, err := Built()
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: o.Dir, AuditLog: filepath.Join(o.Dir, "audit.log")}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := c.files(o); err != nil {
		return nil, err
	}
	etcd, err := run(filepath.Join(o.Dir, "etcd.log"), bin.Etcd, "-dir", filepath.Join(o.Dir, "etcd"))
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, etcd)
	address, err := etcd.firstLine(ctx)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c.URL = "https://127.0.0.1:" + port
	in := func(name string) string { return filepath.Join(o.Dir, name) }
	args := []string{
		"--etcd-servers=" + address, "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", // nobody else is told of it
		"--tls-cert-file=" + in("server.crt"), "--tls-private-key-file=" + in("server.key"),
		"--token-auth-file=" + in("tokens.csv"), "--authorization-mode=RBAC", "--anonymous-auth=false",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + in("accounts.key"), "--service-account-key-file=" + in("accounts.key"),
		"--service-cluster-ip-range=10.0.0.0/24", "--profiling=false",
		"--audit-policy-file=" + in("policy.yaml"), "--audit-log-path=" + c.AuditLog,
	}
	if o.Webhook != "" {
		args = append(args, "--audit-webhook-config-file="+in("webhook.kubeconfig"), "--audit-webhook-batch-max-wait=500ms", "--audit-webhook-initial-backoff=500ms")
	}
	server, err := run(in("kube-apiserver.log"), bin.APIServer, args...)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, server)
	for {
		if _, err = c.Do(ctx, http.MethodGet, "/readyz", "", nil); err == nil {
			return c, nil
		}
		select {
		case <-server.done:
			said, _ := os.ReadFile(in("kube-apiserver.log"))
			return nil, fmt.Errorf("the API server ended: %v\n%s", server.err, said[max(0, len(said)-4000):])
		case <-ctx.Done():
			return nil, fmt.Errorf("the API server is not ready: %w (%w)", ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends it.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].stop()
	}
}

// Kubeconfig writes the injector's, and says where.
func (c *Cluster) Kubeconfig() (string, error) {
	file := filepath.Join(c.dir, "injector.kubeconfig")
	return file, os.WriteFile(file, kubeconfig(c.URL, c.ca, injectorToken), 0o600)
}

func kubeconfig(url string, ca []byte, token string) []byte {
	cluster := map[string]any{"server": url}
	if ca != nil {
		cluster["certificate-authority-data"] = ca
	}
	user := map[string]any{}
	if token != "" {
		user["token"] = token
	}
	out, _ := json.Marshal(map[string]any{ // JSON is YAML
		"apiVersion": "v1", "kind": "Config", "current-context": "it",
		"clusters": []any{map[string]any{"name": "it", "cluster": cluster}},
		"users":    []any{map[string]any{"name": "it", "user": user}},
		"contexts": []any{map[string]any{"name": "it", "context": map[string]any{"cluster": "it", "user": "it"}}},
	})
	return out
}

// Apply applies a List as `kubectl apply --server-side` would, as the administrator.
func (c *Cluster) Apply(ctx context.Context, list []byte) error {
	var l struct {
		Kind  string
		Items []json.RawMessage
	}
	if err := json.Unmarshal(list, &l); err != nil || l.Kind != "List" {
		return fmt.Errorf("apply: this is no List: %w", err)
	}
	for _, item := range l.Items {
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Name, Namespace string }
		}
		if err := json.Unmarshal(item, &o); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		path := "/apis/" + o.APIVersion
		if !strings.Contains(o.APIVersion, "/") {
			path = "/api/" + o.APIVersion
		}
		if o.Metadata.Namespace != "" {
			path += "/namespaces/" + o.Metadata.Namespace
		}
		plural := strings.ToLower(o.Kind) + "s"
		if y, ok := strings.CutSuffix(plural, "ys"); ok {
			plural = y + "ies"
		}
		path += "/" + plural + "/" + o.Metadata.Name + "?fieldManager=kubectl&fieldValidation=Strict"
		if _, err := c.Do(ctx, http.MethodPatch, path, "application/apply-patch+yaml", item); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.Kind, o.Metadata.Name, err)
		}
	}
	return nil
}

// Do makes one request as the administrator.
func (c *Cluster) Do(ctx context.Context, method, path, contentType string, body []byte, headers ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	return data, err
}

// AwaitFence waits until what keeps canaries in their bounds is in effect: policies and
// rights are a moment on their way.
func (c *Cluster) AwaitFence(ctx context.Context, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	user := "system:serviceaccount:" + namespace + ":auditcanary-canary"
	for {
		_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts?dryRun=All", "application/json",
			[]byte(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"not-a-canary"}}`), "Impersonate-User", user)
		if err != nil && strings.Contains(err.Error(), "auditcanary-fence") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the fence does not stand: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// files writes what the programs read.
func (c *Cluster) files(o Options) error {
	write := func(name string, data []byte) error { return os.WriteFile(filepath.Join(o.Dir, name), data, 0o600) }
	ca, cert, key, err := certificate()
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	accountsKey, err := x509.MarshalECPrivateKey(accounts)
	if err != nil {
		return err
	}
	c.ca = ca
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return errors.Join(
		write("server.crt", cert), write("server.key", key),
		write("accounts.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: accountsKey})),
		write("policy.yaml", []byte(o.Policy)),
		write("tokens.csv", []byte(adminToken+",admin,1,\"system:masters\"\n"+injectorToken+",injector,2,\"auditcanary-injectors\"\n")),
		write("webhook.kubeconfig", kubeconfig(o.Webhook, nil, "")),
	)
}

// certificate makes one for 127.0.0.1, with the authority that signed it; all PEM.
func certificate() (ca, cert, key []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	now := time.Now()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	certDER, err := x509.CreateCertificate(rand.Reader, server, authority, &serverKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(serverKey)
	if err != nil {
		return nil, nil, nil, err
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", caDER), encode("CERTIFICATE", certDER), encode("EC PRIVATE KEY", keyDER), nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// process is a program that runs.
type process struct {
	cmd   *exec.Cmd
	first firstLine
	done  chan struct{}
	err   error // once done
}

// run starts one; what it says on stderr is in a file.
func run(log, program string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: exec.Command(program, args...), first: firstLine{said: make(chan string, 1)}, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = filepath.Dir(log), &p.first, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive who started it
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// firstLine keeps the first line that is written to it, and drops the rest.
type firstLine struct {
	text []byte
	sent bool
	said chan string
}

func (f *firstLine) Write(b []byte) (int, error) {
	if f.sent {
		return len(b), nil
	}
	f.text = append(f.text, b...)
	if line, _, whole := bytes.Cut(f.text, []byte("\n")); whole {
		f.sent = true
		f.said <- string(line)
	}
	return len(b), nil
}

// firstLine that a program says, or why it says none.
func (p *process) firstLine(ctx context.Context) (string, error) {
	select {
	case line := <-p.first.said:
		return line, nil
	case <-p.done:
		return "", fmt.Errorf("it ended before it was ready: %w", p.err)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// stop ends a program, politely at first.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
