// The API server for custom resources of the release that `tests/kube/build-newer` builds, with admission policies.
//
// Upstream's own main is an API server for CustomResourceDefinitions and their objects alone; everything else it asks
// of another server (--kubeconfig). There it would look for ValidatingAdmissionPolicies too, and the other server, of
// 1.20, knows none. So this one has them as custom resources of its own (the definitions beside this folder), and the
// plugin, which is the unchanged one, is told to look here.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	definitions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli"
)

// Everything comes from the other server but what admission registers, which comes from this one.
type twoServers struct {
	informers.SharedInformerFactory
	own informers.SharedInformerFactory
}

func (both twoServers) Admissionregistration() admissionregistration.Interface {
	return both.own.Admissionregistration()
}

// Changes where the plugin looks for policies; it is the last to be asked.
type policiesFrom struct{ servers twoServers }

func (from policiesFrom) Initialize(plugin admission.Interface) {
	if policies, ok := plugin.(*validating.Plugin); ok {
		policies.SetExternalKubeInformerFactory(from.servers)
		// The plugin holds back what it may have to refuse until it knows all policies. Their definitions must not
		// wait for that.
		definitions := apiextensions.Resource("customresourcedefinitions")
		policies.SetExcludedAdmissionResources([]schema.GroupResource{definitions})
	}
}

func prepare(config *genericapiserver.RecommendedConfig) ([]admission.PluginInitializer, error) {
	here := rest.CopyConfig(config.LoopbackClientConfig)
	// Custom resources are served as JSON only.
	here.ContentType = "application/json"
	client, err := kubernetes.NewForConfig(here)
	if err != nil {
		return nil, err
	}
	own := informers.NewSharedInformerFactory(client, 0)
	// Without an old one the server has no new description of custom resources either, which policies are checked
	// against.
	namer := openapi.NewDefinitionNamer(apiserver.Scheme, scheme.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions.GetOpenAPIDefinitions, namer)
	err = config.AddPostStartHook("start-policy-informers", func(hook genericapiserver.PostStartHookContext) error {
		own.Start(hook.Done())
		return nil
	})
	return []admission.PluginInitializer{policiesFrom{twoServers{config.SharedInformerFactory, own}}}, err
}

func main() {
	chosen := options.NewCustomResourceDefinitionsServerOptions(os.Stdout, os.Stderr)
	chosen.RecommendedOptions.ExtraAdmissionInitializers = prepare
	command := &cobra.Command{
		Short:             "an API server for custom resources, with admission policies",
		PersistentPreRunE: func(*cobra.Command, []string) error { return chosen.ServerRunOptions.ComponentGlobalsRegistry.Set() },
		RunE: func(command *cobra.Command, _ []string) error {
			if err := chosen.Complete(); err != nil {
				return err
			}
			if err := chosen.Validate(); err != nil {
				return err
			}
			return server.Run(command.Context(), chosen)
		},
	}
	command.SetContext(genericapiserver.SetupSignalContext())
	chosen.AddFlags(command.Flags())
	os.Exit(cli.Run(command))
}
