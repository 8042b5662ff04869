// Checks ValidatingAdmissionPolicies as kube-controller-manager does that fills in status.typeChecking: each expression
// against the schemas of the resources that it is for, as an API server publishes them.
//
//	policy-check KUBECONFIG FILE...     says what is doubtful, and fails if anything is
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
)

// What our policies are for.
var group = schema.GroupVersion{Group: "bpfman.io", Version: "v1alpha1"}

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: policy-check KUBECONFIG FILE..."))
	}
	checker, err := connect(os.Args[1])
	if err != nil {
		fail(err)
	}
	doubts := 0
	for _, file := range os.Args[2:] {
		policies, err := read(file)
		if err != nil {
			fail(fmt.Errorf("%s: %w", file, err))
		}
		for _, policy := range policies {
			kinds, err := kinds(checker, policy)
			if err != nil {
				fail(fmt.Errorf("%s: %w", policy.Name, err))
			}
			for _, warning := range checker.Check(policy) {
				fmt.Printf("%s: %s: %s\n", policy.Name, warning.FieldRef, warning.Warning)
				doubts++
			}
			fmt.Printf("%s: checked %d expressions for %s\n", policy.Name, len(policy.Spec.Validations), strings.Join(kinds, ", "))
		}
	}
	if doubts > 0 {
		fail(fmt.Errorf("%d expressions are doubtful", doubts))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "policy-check:", err)
	os.Exit(1)
}

func connect(kubeconfig string) (*validating.TypeChecker, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	// What kinds there are is asked of one group: the server has no list of groups.
	found, err := client.ServerResourcesForGroupVersion(group.String())
	if err != nil {
		return nil, err
	}
	resources := meta.NewDefaultRESTMapper([]schema.GroupVersion{group})
	for _, resource := range found.APIResources {
		// A subresource has its resource's kind.
		if !strings.Contains(resource.Name, "/") {
			plural := group.WithResource(resource.Name)
			resources.AddSpecific(group.WithKind(resource.Kind), plural, plural, meta.RESTScopeRoot)
		}
	}
	schemas := &resolver.ClientDiscoveryResolver{Discovery: client}
	return &validating.TypeChecker{SchemaResolver: schemas, RestMapper: resources}, nil
}

// The policies in a file, which may hold other objects too.
func read(file string) ([]*v1.ValidatingAdmissionPolicy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*v1.ValidatingAdmissionPolicy
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		policy := new(v1.ValidatingAdmissionPolicy)
		if err := documents.Decode(policy); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if policy.Kind == "ValidatingAdmissionPolicy" {
			all = append(all, policy)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no ValidatingAdmissionPolicy is in it")
	}
	return all, nil
}

// What the policy is for. The checker passes over kinds that it finds no schema of, and would find nothing wrong then.
func kinds(checker *validating.TypeChecker, policy *v1.ValidatingAdmissionPolicy) ([]string, error) {
	var names []string
	for _, rule := range policy.Spec.MatchConstraints.ResourceRules {
		for _, resource := range rule.Resources {
			if strings.Contains(resource, "/") {
				continue
			}
			kind, err := checker.RestMapper.KindFor(group.WithResource(resource))
			if err != nil {
				return nil, err
			}
			if _, err := checker.SchemaResolver.ResolveSchema(kind); err != nil {
				return nil, err
			}
			names = append(names, kind.Kind)
		}
	}
	return names, nil
}
