//go:build s3

package data

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tandem/data/shard"
	"tandem/data/store"
)

// s3Server is an S3 server that can be killed and started again with what it held.
type s3Server interface {
	start(t *testing.T)
	kill(t *testing.T)
	url() string // of a bucket, with parameters
}

// fakeServer is gofakes3 in this process.
type fakeServer struct {
	handler http.Handler
	address string
	server  *http.Server
}

func newFakeServer(t *testing.T) *fakeServer {
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	return &fakeServer{handler: gofakes3.New(backend).Server(), address: "127.0.0.1:0"}
}

func (s *fakeServer) start(t *testing.T) {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.server = &http.Server{Handler: s.handler}
	go s.server.Serve(l)
}

func (s *fakeServer) kill(*testing.T) { s.server.Close() }

func (s *fakeServer) url() string { return bucketURL(s.address) }

func bucketURL(address string) string {
	return "s3://bucket/set?region=us-east-1&s3ForcePathStyle=true&endpoint=http://" + address
}

func credentials(t *testing.T) {
	for key, value := range map[string]string{"AWS_ACCESS_KEY_ID": "testuser", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(key, value)
	}
}

// upload copies a shard directory into a bucket, the manifest last.
func upload(t *testing.T, dir, url string) {
	t.Helper()
	s, err := store.OpenWith(context.Background(), url, store.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, filepath.Join(dir, shard.ManifestName)) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(context.Background(), filepath.Base(f), func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
			t.Fatal(err)
		}
	}
}

// killMidEpoch trains two epochs from a bucket while the server is killed and started again, and compares every batch
// with reading the same shards from disk. Then the server stays away.
func killMidEpoch(t *testing.T, server s3Server) {
	credentials(t)
	server.start(t)
	const rows, batch = 1200, 50
	dir := writeShards(t, testRows(t, rows, nil), 500)
	upload(t, dir, server.url())

	c := testConfig(batch, dir)
	c.Shuffle, c.ShuffleBlock, c.ShuffleWindow, c.Workers = "windows", 64, 4, 4
	want := take(t, open(t, c, Options{}), 2*rows/batch)

	c.Sources[0].Shards = server.url()
	c.Store = StoreConfig{CacheDir: t.TempDir(), BlockBytes: 16 << 10, RetryFor: 20 * time.Second, CacheBytes: 100 << 10} // too small for an epoch
	log := make(chan string, 100)
	l := open(t, c, Options{Log: func(format string, args ...any) { log <- fmt.Sprintf(format, args...) }})
	seen, said := map[int64]int{}, make(chan string, 1)
	for i := range want {
		if i == len(want)/4 {
			server.kill(t)
			go func() { // the server comes back when the reader has noticed
				said <- <-log
				server.start(t)
			}()
		}
		got := next(t, l)
		if diff := cmp.Diff(want[i].Rows, got.Rows); diff != "" || got.Pixels != want[i].Pixels || got.Tokens != want[i].Tokens {
			t.Fatalf("batch %d differs from the one read from disk", i)
		}
		for _, r := range got.Rows {
			seen[r.Row]++
		}
	}
	for row := range int64(rows) {
		if seen[row] != 2 {
			t.Fatalf("row %d came %d times in two epochs", row, seen[row])
		}
	}
	if line := <-said; !strings.Contains(line, "failed, next in") {
		t.Errorf("about the server being away was said %q", line)
	} else {
		t.Log(line)
	}

	server.kill(t)
	c.Store.RetryFor, c.Store.CacheDir = time.Second, t.TempDir()
	began := time.Now()
	_, err := Open(context.Background(), c, Options{Tokenizer: letters{}, Context: testContext})
	if err == nil || !strings.Contains(err.Error(), "given up after") || time.Since(began) > 10*time.Second {
		t.Errorf("a server that stays away: error %v after %s", err, time.Since(began))
	}
}

func TestKillS3MidEpoch(t *testing.T) { killMidEpoch(t, newFakeServer(t)) }

func TestS3GivesUpMidEpoch(t *testing.T) { giveUpMidEpoch(t, newFakeServer(t)) }

// giveUpMidEpoch holds that a run stops with a clear error when the server does not come back.
func giveUpMidEpoch(t *testing.T, server s3Server) {
	credentials(t)
	server.start(t)
	dir := writeShards(t, testRows(t, 300, nil), 100)
	upload(t, dir, server.url())
	c := testConfig(20, server.url())
	c.Store = StoreConfig{CacheDir: t.TempDir(), BlockBytes: 4 << 10, CacheBytes: 30 << 10, RetryFor: time.Second}
	l := open(t, c, Options{})
	next(t, l)
	server.kill(t)
	var err error
	for range 100 {
		if _, err = l.Next(context.Background()); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "s3://bucket/set/train-0000") || !strings.Contains(err.Error(), "given up after") {
		t.Errorf("error %v", err)
	}
	t.Log(err)
	began := time.Now()
	if err := l.Close(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("Close: %v after %s", err, time.Since(began))
	}
}
