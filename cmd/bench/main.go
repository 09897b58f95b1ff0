// Command bench is under construction.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"

	"tandem/backend"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
	"tandem/train"
)

func main() {
	name, B, n := os.Args[1], 128, 12
	if len(os.Args) > 2 { B, _ = strconv.Atoi(os.Args[2]) }
	if len(os.Args) > 3 { n, _ = strconv.Atoi(os.Args[3]) }
	c, err := model.ByName(name)
	if err != nil { panic(err) }
	b, err := backend.Open(context.Background(), backend.Options{Name: "xla:cpu", KeepMemory: os.Getenv("KEEP") != ""})
	if err != nil { panic(err) }
	store, err := c.NewStore(1)
	if err != nil { panic(err) }
	oc := optim.Config{}.WithDefaults()
	st, err := train.NewStepper(b.Backend, store, train.Stepper{Model: c, Loss: loss.Config{}.WithDefaults(), Optim: oc})
	if err != nil { panic(err) }
	S, L, V := c.Vision.ImageSize, c.Text.Context, c.Text.Vocab
	in := train.Input{Images: make([]uint8, B*S*S*3), Tokens: make([]int32, B*L), Longest: L}
	for i := range in.Images { in.Images[i] = uint8(rand.IntN(256)) }
	for r := range B { k := 5 + rand.IntN(L-5); in.Tokens[r*L] = int32(V-2); for j := 1; j < k; j++ { in.Tokens[r*L+j] = int32(1+rand.IntN(V-3)) }; in.Tokens[r*L+k] = int32(V-1) }
	var times []float64
	curve := oc.Schedule.Over(1000, int64(B), 1000)
	for i := range n {
		var r0, r1 syscall.Rusage
		syscall.Getrusage(0, &r0)
		t0 := time.Now()
		m, err := st.Step(in, curve, int64(i), int64(i+1))
		if err != nil { panic(err) }
		d := time.Since(t0)
		syscall.Getrusage(0, &r1)
		fmt.Printf("%d %.3fs loss %.4f faults %d maxrss %d compile %v\n", i, d.Seconds(), m.Loss, r1.Minflt-r0.Minflt, r1.Maxrss/1024, st.TakeCompileTime())
		if i > 2 { times = append(times, d.Seconds()) }
	}
	sort.Float64s(times)
	fi, ft := c.FLOPs()
	med := times[len(times)/2]
	fmt.Printf("median %.3f min %.3f -> %.1f img/s %.0f GFLOP/s\n", med, times[0], float64(B)/med, 3*(fi+ft)*float64(B)/med/1e9)
}
