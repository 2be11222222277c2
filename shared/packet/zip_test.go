package packet

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// hostile makes a zip file with entries as the test wants them.
func hostile(t testing.TB, write func(z *zip.Writer)) []byte {
	t.Helper()
	var w bytes.Buffer
	z := newZip(&w)
	write(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

// patch changes a number in the first directory entry.
func patch(data []byte, offset int, value uint64, size int) []byte {
	data = bytes.Clone(data)
	at := bytes.LastIndex(data, []byte("PK\x01\x02")) + offset
	for i := range size {
		data[at+i] = byte(value >> (8 * i))
	}
	return data
}

func patchEnd(data []byte, offset int, value uint64, size int) []byte {
	data = bytes.Clone(data)
	at := len(data) - endLen + offset
	for i := range size {
		data[at+i] = byte(value >> (8 * i))
	}
	return data
}

func TestHostileZipsAreRefusedByName(t *testing.T) {
	one := func(h zip.FileHeader, data string) []byte {
		return hostile(t, func(z *zip.Writer) {
			w, err := z.CreateHeader(&h)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, data); err != nil {
				t.Fatal(err)
			}
		})
	}
	named := func(name string) []byte {
		return one(zip.FileHeader{Name: name, Method: zip.Deflate, Modified: zipTime()}, "x")
	}
	plain := named("README.txt")
	zeros := one(zip.FileHeader{Name: manifestFile, Method: zip.Deflate, Modified: zipTime()}, strings.Repeat("\x00", 17<<20))
	link := zip.FileHeader{Name: "README.txt", Method: zip.Deflate, Modified: zipTime(), ExternalAttrs: 0o120777 << 16}
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"up and out", named("../README.txt"), ZipPath},
		{"up within", named("ledger/../README.txt"), ZipPath},
		{"from the root", named("/etc/passwd"), ZipPath},
		{"a drive", named("C:/x"), ZipPath},
		{"backslashes", named(`ledger\checkpoint`), ZipPath},
		{"a folder", hostile(t, func(z *zip.Writer) { _, _ = createMember(z, "ledger/") }), ZipPath},
		{"a zero byte", named("README.txt\x00.exe"), ZipPath},
		{"not ASCII", named("RÉADME.txt"), ZipPath},
		{"reordering text", named("README\u202etxt"), ZipPath},
		{"a name of 64 KB", named(strings.Repeat("a", 65535)), ZipLayout},
		{"no name", named(""), ZipPath},
		{"only dots", named(".."), ZipPath},
		{"twice", hostile(t, func(z *zip.Writer) { _, _ = createMember(z, "a"); _, _ = createMember(z, "a") }), ZipDuplicate},
		{"twice but for the case", hostile(t, func(z *zip.Writer) { _, _ = createMember(z, "a"); _, _ = createMember(z, "A") }), ZipDuplicate},
		{"a thousand files", hostile(t, func(z *zip.Writer) {
			for i := range 1000 {
				_, _ = createMember(z, string(rune('a'+i%26))+strings.Repeat("b", i/26))
			}
		}), ZipTooMany},
		{"a symbolic link", one(link, "/etc/passwd"), ZipSymlink},
		{"attributes", one(zip.FileHeader{Name: "a", Method: zip.Deflate, Modified: zipTime(), ExternalAttrs: 0o644 << 16}, "x"), ZipLayout},
		{"stored", one(zip.FileHeader{Name: "a", Method: zip.Store, Modified: zipTime()}, "x"), ZipMethod},
		{"another method", patch(plain, 10, 93, 2), ZipMethod},
		{"encrypted", patch(plain, 8, 0x9, 2), ZipEncrypted},
		{"strongly encrypted", patch(plain, 8, 0x49, 2), ZipEncrypted},
		{"a comment", one(zip.FileHeader{Name: "a", Method: zip.Deflate, Modified: zipTime(), Comment: "hello"}, "x"), ZipLayout},
		{"an extra field", one(zip.FileHeader{Name: "a", Method: zip.Deflate, Modified: zipTime(), Extra: []byte{1, 2, 0, 0}}, "x"), ZipLayout},
		{"another date", patch(plain, 14, 0x5000, 2), ZipLayout},
		{"4 GB claimed", patch(plain, 24, 0xffffffff, 4), Zip64},
		{"4 GB packed claimed", patch(plain, 20, 0xffffffff, 4), Zip64},
		{"a header beyond 4 GB", patch(plain, 42, 0xffffffff, 4), Zip64},
		{"a directory beyond 4 GB", patchEnd(plain, 16, 0xffffffff, 4), Zip64},
		{"65,535 entries", patchEnd(plain, 10, 0xffff, 2), Zip64},
		{"4 GB less a byte claimed", patch(plain, 24, 0xfffffffe, 4), ZipBomb},
		{"a gigabyte claimed", patch(plain, 24, 1<<30, 4), ZipBomb},
		{"a longer size claimed", patch(plain, 24, 2, 4), ZipLayout},
		{"another checksum claimed", patch(plain, 16, 1, 4), ZipLayout},
		{"another offset", patch(plain, 42, 1, 4), ZipLayout},
		{"several disks", patchEnd(plain, 4, 1, 2), ZipLayout},
		{"more entries than there are", patchEnd(patchEnd(plain, 10, 2, 2), 8, 2, 2), ZipLayout},
		{"fewer entries than there are", patchEnd(patchEnd(plain, 10, 0, 2), 8, 0, 2), ZipLayout},
		{"17 MB of zeros for a manifest", zeros, FileMissing},
		{"something before it", append([]byte("MZ"), plain...), NotZip},
		{"only an end", plain[len(plain)-endLen:], NotZip},
	} {
		r := verifyBytes(t, tc.data, Trust{}, VerifyOptions{})
		if got := names(r); len(got) != 1 || got[0] != tc.want || r.Status == Verified {
			t.Errorf("%s: %s %v %+v, want %s", tc.name, r.Status, got, r.Problems, tc.want)
		}
	}
}

// TestABombCostsNothing: what inflates without an end is refused at the size that it
// claims, and what is too large for its kind before a byte is inflated.
func TestABombCostsNothing(t *testing.T) {
	big := strings.Repeat("\x00", 20<<20)
	bomb := hostile(t, func(z *zip.Writer) {
		for _, name := range []string{envelopeFile, manifestFile, packetPEMFile} {
			w, _ := createMember(z, name)
			_, _ = io.WriteString(w, big)
		}
	})
	if len(bomb) > 1<<20 {
		t.Fatalf("a bomb of %d bytes", len(bomb))
	}
	mustSay(t, "20 MB for an envelope", verifyBytes(t, bomb, Trust{}, VerifyOptions{}), Broken, ZipSize)

	// The claim is small, the data are not: a lie that only inflating shows.
	lie := hostile(t, func(z *zip.Writer) {
		w, _ := createMember(z, envelopeFile)
		_, _ = io.WriteString(w, big)
	})
	lie = patch(lie, 24, 1000, 4)
	copy(lie[bytes.LastIndex(lie, []byte("PK\x01\x02"))-4:], "\xe8\x03\x00\x00") // and the same after the data
	a, err := openArchive(bytes.NewReader(lie), int64(len(lie)))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, a.open(a.members[0]))
	if err == nil || !strings.Contains(err.Error(), ZipSize) || n > 1<<20 {
		t.Errorf("inflated %d bytes: %v", n, err)
	}

	// A line without an end, in a packet that is signed by whoever made it.
	b := newMemoryBook(t)
	b.addRun(t, 1, false, testScenario)
	o := b.options(t)
	f := unpack(t, mustBuild(t, b, o)).with(leavesFile, []byte(big)).resigned(t, o.Signer, nil)
	mustSay(t, "a leaf of 20 MB", verifyBytes(t, f.pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{}), Broken, BadProof)
	f = unpack(t, mustBuild(t, b, o)).with(proofFile, []byte(big)).resigned(t, o.Signer, nil)
	mustSay(t, "a proof of 20 MB", verifyBytes(t, f.pack(t), Trust{Keys: []string{b.vkey}}, VerifyOptions{}), Broken, BadProof)
}

// TestOrdinaryToolsReadIt: strict is what we read, ordinary what we write.
func TestOrdinaryToolsReadIt(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 1, true, testScenario)
	data := mustBuild(t, b, b.options(t))
	if n := binary.LittleEndian.Uint16(data[len(data)-endLen+10:]); int(n) != len(unpack(t, data)) {
		t.Errorf("%d files of %d read by archive/zip", len(unpack(t, data)), n)
	}
}

// FuzzVerify: whatever the bytes, Verify ends without panic, in bounded memory, and
// calls nothing verified that is not the packet itself.
func FuzzVerify(f *testing.F) {
	b := newMemoryBook(f)
	b.addRun(f, 2, true, testScenario)
	o := b.options(f)
	packet := mustBuild(f, b, o)
	good := unpack(f, packet)
	f.Add(packet)
	f.Add(packet[:len(packet)/2])
	f.Add(patchEnd(packet, 10, 3, 2))
	f.Add(patch(packet, 24, 0xffffffff, 4))
	f.Add(good.with(leavesFile, []byte("{}\n")).resigned(f, o.Signer, nil).pack(f))
	f.Add(good.with(proofFile, []byte(proofMagic+"\nnode 47 0 AAAA\n")).resigned(f, o.Signer, nil).pack(f))
	f.Add(good.resigned(f, o.Signer, func(m *Manifest) { m.Slice.End = -1 }).pack(f))
	trust := Trust{Keys: []string{b.vkey}}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Verify(t.Context(), bytes.NewReader(data), int64(len(data)), trust, VerifyOptions{Rejudge: true, Explain: "20261122-run001-01"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Status == Verified && !bytes.Equal(data, packet) && !sameContents(t, data, good) {
			t.Fatal("verified, and it is another packet")
		}
		if r.Status != Verified && len(r.Problems) == 0 {
			t.Fatalf("%s without a reason", r.Status)
		}
	})
}

// FuzzSignedContents lets the fuzzer write what a packet's files say, with a
// signature that is good.
func FuzzSignedContents(f *testing.F) {
	b := newMemoryBook(f)
	b.addRun(f, 2, true, testScenario)
	o := b.options(f)
	good := unpack(f, mustBuild(f, b, o))
	trust := Trust{Keys: []string{b.vkey}}
	for _, one := range good {
		f.Add(one.name, one.data)
	}
	f.Add(proofFile, []byte(proofMagic+"\nleaves 0 281474976710655\n"))
	f.Add(proofFile, []byte(proofMagic+"\nnode 47 1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add(leavesFile, []byte(`{"v":1,"type":"planned","canary":"20261122-run001-01"}`+"\n"+`{"v":1,"type":"listed"}`+"\n"+`{"v":1,"type":"kept","canary":"20261122-run001-01"}`+"\n"))
	f.Add(leavesFile, []byte(`{"v":1,"type":"verdict","canary":"x","verdict":{"checks":{}}}`+"\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if good.get(name) == nil {
			return
		}
		packet := good.with(name, data)
		if name != manifestFile && name != envelopeFile && name != sumsFile {
			packet = packet.resigned(t, o.Signer, nil)
		}
		r := verifyBytes(t, packet.pack(t), trust, VerifyOptions{Rejudge: true, Explain: "20261122-run001-01"})
		// What README.txt says is for people: it may be another version's.
		if r.Status == Verified && name != readmeFile && !bytes.Equal(data, good.get(name)) {
			t.Fatalf("%s is another, and verified", name)
		}
	})
}

func sameContents(t *testing.T, data []byte, good files) bool {
	have := unpack(t, data)
	for i := range have {
		if len(have) != len(good) || have[i].name != good[i].name || !bytes.Equal(have[i].data, good[i].data) {
			return false
		}
	}
	return true
}
