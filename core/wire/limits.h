// limits.h: the bounds of everything that comes over the wire. Both sides keep to them; a receiver refuses the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace understudy::wire {

// Of the messages' meaning. Both sides of a connection must have the same; docs/formats and proto/README.md say what
// makes a new one.
inline constexpr uint32_t kProtocolVersion = 7;

inline constexpr size_t kMaxMessageBytes = 8 * 1024 * 1024;  // one gRPC message, serialized

// Content.
inline constexpr size_t kMaxInlineBytes = 256 * 1024;        // content inside a Put; larger content is staged
inline constexpr size_t kMaxStageBytes = 1024 * 1024;        // data of one StageData
inline constexpr size_t kMaxStageRanges = 1024;              // of one StageData
inline constexpr size_t kMaxStagedFilesBytes = 1024 * 1024;  // content of one StageFiles
inline constexpr size_t kMaxStagedEntries = 4096;            // files of one StageFiles, and folders
inline constexpr uint64_t kMaxDeltaRangeBytes =
    4 * 1024 * 1024;  // range of one StageDelta, and what its offset is a multiple of
inline constexpr uint64_t kMaxDeltaBaseBytes = 3 * kMaxDeltaRangeBytes;    // what one StageDelta is made against
inline constexpr size_t kMaxDeltaBytes = kMaxDeltaRangeBytes + 64 * 1024;  // a useful delta is shorter than its range
inline constexpr uint64_t kMaxFileBytes = std::numeric_limits<int64_t>::max();

// Of resumed content: what lies past so many segments (1 TiB) is sent again.
inline constexpr size_t kMaxResumedSegments = 256 * 1024;
inline constexpr size_t kMaxLeftovers = 64;  // of one volume

// Of one file of an inventory; of a file with more (512 GiB) none is told, and if it differs it is sent whole.
inline constexpr size_t kMaxInventorySegments = 128 * 1024;
inline constexpr size_t kMaxSignatureBytes = 256 * 1024;  // of one segment

// Commits.
inline constexpr size_t kMaxCommitOperations = 16 * 1024;
// Slots are below this; so many at most are staged or detached at a time.
inline constexpr uint32_t kMaxSlots = 2 * kMaxCommitOperations;

// An epoch that a primary may bring: promotions can go on raising it for ever, as far as the stores' signed numbers go.
inline constexpr uint64_t kMaxEpoch = uint64_t{1} << 62;

// Metadata.
inline constexpr uint32_t kMaxModeBits = 07777;
inline constexpr uint32_t kMaxNanoseconds = 999'999'999;
inline constexpr size_t kMaxXattrs = 1024;                // of one file
inline constexpr size_t kMaxXattrNameBytes = 255;         // XATTR_NAME_MAX
inline constexpr size_t kMaxXattrValueBytes = 64 * 1024;  // XATTR_SIZE_MAX
inline constexpr size_t kMaxSymlinkTargetBytes = 4095;    // PATH_MAX without its NUL
inline constexpr size_t kMaxReplicaRootBytes = 4095;      // likewise
inline constexpr size_t kMaxReplicaIdBytes = 64;
inline constexpr size_t kMaxCommitIdBytes = 64;

// Texts.
inline constexpr size_t kMaxHostBytes = 255;
inline constexpr size_t kMaxSoftwareVersionBytes = 128;
inline constexpr size_t kMaxExportBackendBytes = 32;
inline constexpr size_t kMaxErrorMessageBytes = 4096;  // longer ones are cut by the sender

// Verification.
inline constexpr size_t kMaxListedPaths = 1000;            // of one ListEntriesRequest
inline constexpr size_t kMaxListedDamage = 100;            // of one replica
inline constexpr size_t kMaxDifferenceDetailBytes = 1024;  // longer ones are cut by the sender

// Hooks: what a call hands to them, and what comes back of each one's output.
inline constexpr size_t kMaxRunBytes = 128;  // the name of a run
inline constexpr size_t kMaxHookFacts = 64;
inline constexpr size_t kMaxHookFactBytes = 4096;  // of a name or a value
inline constexpr size_t kMaxHookOutputBytes = 16 * 1024;

// Catalog.
inline constexpr size_t kMaxObjectNameBytes = 253;  // Kubernetes' own bound, for names and namespaces
inline constexpr size_t kMaxObjectUidBytes = 128;
inline constexpr size_t kMaxResourceBytes =
    3 * 1024 * 1024;  // etcd takes 1.5 MiB; JSON may be longer than its form there
inline constexpr size_t kMaxServerBytes = 255;

// Pages of lists and inventories end at whichever comes first.
inline constexpr size_t kMaxPageEntries = 512;
inline constexpr size_t kMaxPageBytes = 1024 * 1024;  // of the entries before the last one

}  // namespace understudy::wire
