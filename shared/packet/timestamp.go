package packet

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

// Roots are the certificates that a time-stamping authority's must lead to.
type Roots struct{ pool *x509.CertPool }

// ParseRoots reads PEM certificates.
func ParseRoots(data []byte) (*Roots, error) {
	pool := x509.NewCertPool()
	n := 0
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates of the time-stamping authority: %w", err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, errors.New("certificates of the time-stamping authority: there is none (PEM, BEGIN CERTIFICATE)")
	}
	return &Roots{pool}, nil
}

// maxStamp bounds a request or a response, in bytes.
const maxStamp = 64 << 10

// stamp has the SHA-256 of the envelope stamped, and takes no response that a
// verifier would not take.
func stamp(ctx context.Context, envelope []byte, ask func(context.Context, []byte) ([]byte, error), roots *Roots) (query, response []byte, err error) {
	sum := sha256.Sum256(envelope)
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, err
	}
	query, err = (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Certificates: true, Nonce: nonce}).Marshal()
	if err != nil {
		return nil, nil, fmt.Errorf("timestamp: make the request: %w", err)
	}
	if response, err = ask(ctx, query); err != nil {
		return nil, nil, fmt.Errorf("timestamp: %w", err)
	}
	if _, err := checkTimestamp(envelope, query, response, roots); err != nil {
		return nil, nil, fmt.Errorf("timestamp: the authority's response is not one: %w", err)
	}
	return query, response, nil
}

// stamped is what a timestamp proves.
type stamped struct {
	at   time.Time
	by   string // the subject of the certificate that signed it
	root bool   // it leads to a root that was given
}

// checkTimestamp verifies a response by itself: that it answers the request, that
// it is over the envelope, that the certificate in it signed it and is one for time
// stamping, and nothing else; and, where roots are given, that it leads to one.
//
// The parsers are not ours, and what they read may be anybody's: a panic of theirs
// is a response that cannot be read.
func checkTimestamp(envelope, query, response []byte, roots *Roots) (s stamped, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it cannot be parsed: %v", r)
		}
	}()
	if len(query) > maxStamp || len(response) > maxStamp {
		return s, fmt.Errorf("more than %d bytes", maxStamp)
	}
	req, err := timestamp.ParseRequest(query)
	if err != nil {
		return s, fmt.Errorf("request: %w", err)
	}
	if again, err := req.Marshal(); err != nil || string(again) != string(query) {
		return s, errors.New("request: not as this program makes it")
	}
	sum := sha256.Sum256(envelope)
	if req.HashAlgorithm != crypto.SHA256 || string(req.HashedMessage) != string(sum[:]) {
		return s, fmt.Errorf("request: it is not over %s", envelopeFile)
	}
	ts, err := timestamp.ParseResponse(response)
	if err != nil {
		return s, fmt.Errorf("response: %w", err)
	}
	switch {
	case ts.HashAlgorithm != crypto.SHA256 || string(ts.HashedMessage) != string(sum[:]):
		return s, fmt.Errorf("response: it is not over %s", envelopeFile)
	case req.Nonce == nil || ts.Nonce == nil || req.Nonce.Cmp(ts.Nonce) != 0:
		return s, errors.New("response: its nonce is not that of the request")
	}
	p7, err := pkcs7.Parse(ts.RawToken)
	if err != nil {
		return s, fmt.Errorf("response: %w", err)
	}
	signer := p7.GetOnlySigner()
	if signer == nil {
		return s, errors.New("response: the certificate of its one signer is not in it")
	}
	if err := p7.Verify(); err != nil {
		return s, fmt.Errorf("response: signature: %w", err)
	}
	if err := stampsTime(signer); err != nil {
		return s, fmt.Errorf("response: certificate %q: %w", signer.Subject, err)
	}
	s = stamped{at: ts.Time.UTC(), by: signer.Subject.String()}
	if roots == nil {
		return s, nil
	}
	between := x509.NewCertPool()
	for _, c := range p7.Certificates {
		between.AddCert(c)
	}
	_, err = signer.Verify(x509.VerifyOptions{
		Roots: roots.pool, Intermediates: between, CurrentTime: ts.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	if err != nil {
		return s, fmt.Errorf("response: certificate %q: %w", signer.Subject, err)
	}
	s.root = true
	return s, nil
}

// stampsTime: RFC 3161 wants one extended key usage, time stamping, marked critical.
func stampsTime(c *x509.Certificate) error {
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(c.UnknownExtKeyUsage) > 0 {
		return errors.New("it is not for time stamping alone")
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) && e.Critical {
			return nil
		}
	}
	return errors.New("its extended key usage is not critical")
}
