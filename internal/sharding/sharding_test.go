package sharding

import "testing"

// TestRoundUp: a batch is one that the devices divide.
func TestRoundUp(t *testing.T) {
	for _, test := range []struct{ devices, rows, want int }{{1, 5, 5}, {2, 5, 6}, {3, 64, 66}, {4, 4, 4}, {4, 1, 4}, {3, 0, 0}} {
		p := Plan{devices: test.devices}
		if got := p.RoundUp(test.rows); got != test.want {
			t.Errorf("%d rows on %d devices: %d, want %d", test.rows, test.devices, got, test.want)
		}
	}
}

// TestOneMesh: graphs of one store want the same value.
func TestOneMesh(t *testing.T) {
	a, err := mesh(2)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := mesh(2); err != nil || a != b {
		t.Errorf("two meshes of two devices (%v)", err)
	}
}
