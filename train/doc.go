// Package train runs one optimiser step as one compiled graph, and the loop around it: log, checkpoint, evaluate.
// It knows neither where batches come from nor any benchmark's name.
package train
