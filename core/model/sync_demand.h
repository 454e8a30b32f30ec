// sync_demand.h: what whoever asks for a barrier wants of it.
#pragma once

namespace understudy::model {

struct SyncDemand {
  bool published = false;  // also that the replica's folder shows it
  bool rescan = false;     // that every entry of the volume is looked at, whatever hints told
};

}  // namespace understudy::model
