#include "core/model/commit.h"

#include <fmt/format.h>

#include <string_view>

#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::model {
namespace {

// Which of the four passes an operation belongs to, and the path that orders it there.
struct Place {
  int pass;
  std::string_view path;
};

Place PlaceOf(const Operation& operation) {
  struct Visitor {
    Place operator()(const Remove& op) const { return {1, op.path}; }
    Place operator()(const Detach& op) const { return {1, op.path}; }
    Place operator()(const Attach& op) const { return {2, op.path}; }
    Place operator()(const MakeDirectory& op) const { return {2, op.path}; }
    Place operator()(const Put& op) const { return {2, op.path}; }
    Place operator()(const MakeSymlink& op) const { return {2, op.path}; }
    Place operator()(const MakeNode& op) const { return {2, op.path}; }
    Place operator()(const Link& op) const { return {3, op.path}; }
    Place operator()(const Patch& op) const { return {3, op.path}; }
    Place operator()(const SetMetadata& op) const { return {4, op.path}; }
  };
  return std::visit(Visitor{}, operation);
}

}  // namespace

absl::Status ValidateOrder(const Commit& commit) {
  int pass = 1;
  std::string previous;
  bool first_of_pass = true;
  for (const Operation& operation : commit.operations) {
    const Place place = PlaceOf(operation);
    std::string key = Key(place.path);
    if (place.pass < pass) return absl::InvalidArgumentError("operations of a commit stand in the wrong order");
    if (place.pass > pass) {
      pass = place.pass;
      first_of_pass = true;
    }
    if (!first_of_pass && !(pass == 2 || pass == 3 ? previous < key : key < previous)) {
      return absl::InvalidArgumentError(
          fmt::format("operation on '{}' stands in the wrong order, or twice", Printable(place.path)));
    }
    previous = std::move(key);
    first_of_pass = false;
  }
  return absl::OkStatus();
}

}  // namespace understudy::model
