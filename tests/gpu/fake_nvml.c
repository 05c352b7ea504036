/* NVML with two devices, for a test of how it is asked. The second one is divided into two slices. */
#include <stdio.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

struct device { const char *uuid, *name; unsigned long long total, used; };
struct memory { unsigned long long total, free, used; };

static struct device all[] = {
    {"GPU-a", "NVIDIA A10G", 24146608128ULL, 536870912ULL},
    {"GPU-b", "NVIDIA A100-SXM4-40GB", 42949672960ULL, 0},
    {"MIG-0", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20937965568ULL, 1048576ULL},
    {"MIG-1", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20937965568ULL, 0},
};

int nvmlInitWithFlags(unsigned flags) { return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) { *device = &all[index]; return OK; }
int nvmlDeviceGetUUID(struct device *device, char *text, unsigned size) { snprintf(text, size, "%s", device->uuid); return OK; }
int nvmlDeviceGetName(struct device *device, char *text, unsigned size) { snprintf(text, size, "%s", device->name); return OK; }
int nvmlDeviceGetMemoryInfo(struct device *device, struct memory *memory) {
    *memory = (struct memory){device->total, device->total - device->used, device->used};
    return OK;
}
int nvmlDeviceGetMigMode(struct device *device, unsigned *now, unsigned *later) {
    *now = *later = 1;
    return device == &all[1] ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) { *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **slice) {
    *slice = &all[2 + index];
    return index < 2 ? OK : NOT_FOUND;
}
