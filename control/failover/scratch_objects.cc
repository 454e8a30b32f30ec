#include "control/failover/scratch_objects.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/kube/object_fields.h"

namespace understudy::control {
namespace {

using kube::TextAt;
using nlohmann::json;

bool IsOf(const std::string& run, const json& object) {
  return TextAt(object, {"metadata", "labels", kTestRunLabel}) == run;
}

absl::Status Foreign(std::string_view what) {
  return absl::FailedPreconditionError(
      fmt::format("{} is there already and isn't this rehearsal's: delete it, or choose another "
                  "`test_namespace_suffix` in the plan",
                  what));
}

// Whether the namespace may be used: what is put into one that is being deleted goes with it.
absl::Status Usable(const std::string& run, const json& object, const std::string& name) {
  if (!IsOf(run, object)) return Foreign("namespace " + Printable(name));
  if (!kube::IsTerminating(object)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "namespace {} is being deleted: wait until it is gone (`kubectl get namespace {}`)", Printable(name), name));
}

}  // namespace

absl::Status KubeScratch::EnsureNamespace(const std::string& run, const std::string& name) {
  const absl::StatusOr<json> present = client_.Get(kube::kNamespaces, "", name);
  if (present.ok()) return Usable(run, *present, name);
  if (!absl::IsNotFound(present.status())) return present.status();
  const json manifest = {
      {"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}, {"labels", {{kTestRunLabel, run}}}}}};
  const absl::Status made = client_.Create(kube::kNamespaces, "", manifest).status();
  if (!absl::IsAlreadyExists(made)) return made;
  // Another item of the step made it just now, or somebody else did.
  ASSIGN_OR_RETURN(const json other, client_.Get(kube::kNamespaces, "", name));
  return Usable(run, other, name);
}

absl::StatusOr<bool> KubeScratch::HasNamespace(const std::string& name) {
  const absl::Status present = client_.Get(kube::kNamespaces, "", name).status();
  if (absl::IsNotFound(present)) return false;
  RETURN_IF_ERROR(present);
  return true;
}

absl::Status KubeScratch::Put(const std::string& run, const json& manifest) {
  ASSIGN_OR_RETURN(const model::ObjectKind kind, model::ParseObjectKind(TextAt(manifest, {"kind"})));
  const kube::Resource& resource = kube::ResourceOf(kind);
  const std::string namespace_name = kube::NamespaceOf(manifest);
  const std::string name = kube::NameOf(manifest);
  if (!namespace_name.empty()) RETURN_IF_ERROR(EnsureNamespace(run, namespace_name));
  const absl::StatusOr<json> present = client_.Get(resource, namespace_name, name);
  if (present.ok() && !IsOf(run, *present)) return Foreign(fmt::format("{} {}", resource.kind, Printable(name)));
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  json labelled = manifest;
  labelled["metadata"]["labels"][kTestRunLabel] = run;
  return client_.Apply(resource, namespace_name, name, labelled).status();
}

absl::StatusOr<size_t> KubeScratch::RemoveAll(const kube::Resource& resource, const std::string& run,
                                              std::stop_token stop) {
  ASSIGN_OR_RETURN(const kube::ListResult all, client_.List(resource, "", stop));
  size_t left = 0;
  for (const json& object : all.items) {
    if (!IsOf(run, object)) continue;
    ++left;
    if (kube::IsTerminating(object)) continue;
    const absl::Status deleted = client_.Delete(resource, "", kube::NameOf(object), kube::UidOf(object));
    if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
  }
  return left;
}

absl::StatusOr<size_t> KubeScratch::Remove(const std::string& run, std::stop_token stop) {
  // Claims go with their namespaces; a volume whose claim is still there would only wait.
  ASSIGN_OR_RETURN(const size_t namespaces, RemoveAll(kube::kNamespaces, run, stop));
  if (namespaces > 0) return namespaces;
  return RemoveAll(kube::kPersistentVolumes, run, stop);
}

}  // namespace understudy::control
