// Validates a bundle for the Operator Lifecycle Manager by the rules of operator-sdk: `bundle-check FOLDER`.
package main

import (
	"fmt"
	"os"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	"github.com/operator-framework/api/pkg/validation/errors"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bundle-check FOLDER")
		os.Exit(2)
	}
	bundle, err := manifests.GetBundleFromDir(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	failed := false
	show := func(results []errors.ManifestResult) {
		for _, result := range results {
			for _, found := range append(result.Errors, result.Warnings...) {
				fmt.Println(found.Error())
			}
			failed = failed || result.HasError()
		}
	}
	objects := bundle.ObjectsToValidate()
	for _, object := range bundle.Objects {
		objects = append(objects, object)
	}
	show(validation.AllValidators.Validate(objects...))
	if failed {
		os.Exit(1)
	}
}
