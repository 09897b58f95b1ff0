package model

import (
	. "github.com/gomlx/gomlx/core/graph"
	. "github.com/gomlx/gomlx/support/exceptions"
)

// This file holds functions whose gradient is written by hand. What automatic differentiation makes of them is right
// but reads and writes memory more often than need be, and memory is what a training step on a CPU waits for
// (docs/performance.md). Tests hold each to the automatic gradient.

// withGradient returns forward(x), whose gradient by x is backward(x, dy), dy being the gradient by the result. Gradients
// by anything else that forward uses are lost.
//
// backward builds what it needs of the forward pass anew from the x it is given: XLA finds the two equal and computes
// them once, unless the block is rematerialised, when x is a recomputed one and so is all that follows from it.
//
// It stands on GoMLX's mechanism for fused operations: the gradient follows an alternative of the result, here the
// identity of x with a gradient of its own, which is dead code in the forward pass.
func withGradient(x *Node, forward func(x *Node) *Node, backward func(x, dy *Node) *Node) *Node {
	y, fused := InternalFusedOpCaller(
		func() *Node { return forward(x) },
		func() *Node { return IdentityWithCustomGradient(x, backward) }, true)
	if !fused {
		Panicf("model: %s turns off GoMLX's fused operations, which this model's gradients need: unset it", FusionEnv)
	}
	return y
}

// rowSum sums the last axis and keeps it with length 1.
func rowSum(x *Node) *Node { return ReduceAndKeep(x, ReduceSum, -1) }

// rowMean is the mean over the last axis, kept with length 1.
func rowMean(x *Node) *Node { return ReduceAndKeep(x, ReduceMean, -1) }
