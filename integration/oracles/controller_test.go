package oracles

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sigstore/policy-controller/pkg/apis/config"
	"github.com/sigstore/policy-controller/pkg/apis/policy/v1alpha1"
	"github.com/sigstore/policy-controller/pkg/apis/policy/v1beta1"
	"github.com/sigstore/policy-controller/pkg/webhook"
	webhookcip "github.com/sigstore/policy-controller/pkg/webhook/clusterimagepolicy"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/logging"
	"sigs.k8s.io/yaml"
)

// The answers of an enforcement point, in words that ours and policy-controller have both.
const (
	admitted = "admitted"
	warned   = "admitted with a warning"
	refused  = "refused"
)

// controller is policy-controller's webhook, with the policies and trust roots that its reconciler would have put into the cluster's configuration.
type controller struct{ ctx context.Context }

// newController takes the way of a policy through policy-controller: validation, defaults, conversion, and the JSON of the configuration. An error is what
// kubectl apply would show.
func newController(tb testing.TB, text string) (*controller, error) {
	tb.Helper()
	policies, roots := map[string]string{}, map[string]*config.SigstoreKeys{}
	for document := range strings.SplitSeq(text, "\n---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return nil, err
		}
		switch head.Kind {
		case "TrustRoot":
			var root v1alpha1.TrustRoot
			if err := yaml.Unmarshal([]byte(document), &root); err != nil {
				return nil, err
			}
			keys, err := config.ConvertSigstoreKeys(tb.Context(), root.Spec.SigstoreKeys)
			if err != nil {
				return nil, err
			}
			roots[root.Name] = keys
		case "ClusterImagePolicy":
			name, entry, err := reconciled(tb.Context(), document)
			if err != nil {
				return nil, err
			}
			policies[name] = entry
		default:
			return nil, fmt.Errorf("policy-controller has no kind %q", head.Kind)
		}
	}
	matched, err := config.NewImagePoliciesConfigFromMap(policies)
	if err != nil {
		return nil, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}
	ctx := logging.WithLogger(tb.Context(), zap.NewNop().Sugar())
	ctx = context.WithValue(ctx, kubeclient.Key{}, fake.NewSimpleClientset(account))
	return &controller{config.ToContext(ctx, &config.Config{ImagePolicyConfig: matched, SigstoreKeysConfig: &config.SigstoreKeysMap{SigstoreKeys: roots}})}, nil
}

// reconciled is a policy as the reconciler writes it.
func reconciled(ctx context.Context, document string) (name, entry string, err error) {
	var policy v1beta1.ClusterImagePolicy
	if err := yaml.UnmarshalStrict([]byte(document), &policy); err != nil {
		return "", "", err
	}
	policy.SetDefaults(ctx)
	if err := policy.Validate(ctx); err.Filter(apis.ErrorLevel) != nil {
		return "", "", err
	}
	var older v1alpha1.ClusterImagePolicy
	if err := older.ConvertFrom(ctx, &policy); err != nil {
		return "", "", err
	}
	older.SetDefaults(ctx)
	text, err := json.Marshal(webhookcip.ConvertClusterImagePolicyV1alpha1ToWebhook(&older))
	return policy.Name, string(text), err
}

// admit asks the webhook about a pod with one container.
func (c *controller) admit(image string) (answer, why string) {
	pod := &duckv1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Namespace: "default"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}}}
	problem := webhook.NewValidator(c.ctx).ValidatePod(c.ctx, pod)
	switch {
	case problem == nil:
		return admitted, ""
	case problem.Filter(apis.ErrorLevel) == nil:
		return warned, problem.Error()
	}
	return refused, problem.Error()
}
