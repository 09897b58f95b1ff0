package backend_test

import (
	"fmt"

	"tandem/backend"
)

func ExampleInfo_String() {
	fmt.Println(backend.Info{
		Name:       backend.CPU,
		PluginPath: "/home/user/.local/lib/go-xla/pjrt_c_api_cpu_plugin.so",
		APIVersion: "0.115",
		Devices:    []string{"cpu:0"},
	})
	// Output: backend xla:cpu: plugin /home/user/.local/lib/go-xla/pjrt_c_api_cpu_plugin.so, PJRT API 0.115, 1 device (cpu:0)
}
