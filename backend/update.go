package backend

import (
	"github.com/gomlx/go-xla/stablehlo"
	"github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/compilehook"
)

// UpdateInPlace lets a graph write the new values of the store's variables over the old ones, whose buffers GoMLX donates
// to the execution. It is the last thing to call while a gml.Exec's function builds its graph. What it saves is a second
// copy of all that changes; where it is not supported, and for graphs that change nothing, it does nothing.
func UpdateInPlace(g *graph.Graph, store *gml.Store) {
	outputs, next := map[int]int{}, 0 // parameter → output: changed variables come first, in the order of the store (gml.Exec)
	for v := range store.IterVariables() {
		if !v.ChangedInGraph(g) {
			continue
		}
		if parameter := g.GetParameterByName(v.Path()); parameter != nil {
			outputs[int(parameter.GetParameterHandle())] = next
		}
		next++
	}
	if len(outputs) > 0 {
		compilehook.Alias(stablehlo.NormalizeIdentifier(g.Name()), outputs)
	}
}
