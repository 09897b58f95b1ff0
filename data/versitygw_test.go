//go:build s3 && slow

package data

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// versityServer is versitygw, a real S3 server with signature checks, over a directory.
type versityServer struct {
	program, dir, address string
	cmd                   *exec.Cmd
}

// newVersityServer takes the program named by $VERSITYGW, or installs it: a minute or two.
func newVersityServer(t *testing.T) *versityServer {
	program := os.Getenv("VERSITYGW")
	if program == "" {
		bin := t.TempDir()
		install := exec.Command("go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
		install.Env = append(os.Environ(), "GOBIN="+bin)
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("go install versitygw: %v\n%s", err, out)
		}
		program = filepath.Join(bin, "versitygw")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &versityServer{program: program, dir: t.TempDir(), address: l.Addr().String()}
	if err := os.Mkdir(filepath.Join(s.dir, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill(t) })
	return s
}

func (s *versityServer) start(t *testing.T) {
	s.cmd = exec.Command(s.program, "--access", "testuser", "--secret", "testsecret", "--region", "us-east-1", "--port", s.address, "posix", "--nometa", s.dir)
	if err := s.cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	for range 200 {
		if c, err := net.Dial("tcp", s.address); err == nil {
			c.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("versitygw does not listen on %s", s.address)
}

// kill ends the server as a power cut would.
func (s *versityServer) kill(t *testing.T) {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *versityServer) url() string { return bucketURL(s.address) }

// TestKillVersityMidEpoch is TestKillS3MidEpoch with a real server:
//
//	go test -tags s3,slow -run Versity -v ./data
func TestKillVersityMidEpoch(t *testing.T) { killMidEpoch(t, newVersityServer(t)) }

func TestVersityGivesUpMidEpoch(t *testing.T) { giveUpMidEpoch(t, newVersityServer(t)) }

// TestWrongSecret holds that a refused signature is not tried again for minutes.
func TestWrongSecret(t *testing.T) {
	credentials(t)
	server := newVersityServer(t)
	server.start(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	began := time.Now()
	_, err := OpenShards(context.Background(), server.url(), "")
	if !errors.Is(err, fs.ErrPermission) || time.Since(began) > 10*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
}
