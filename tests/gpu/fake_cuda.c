/* A driver without a device, for a run of the check where there is none. It sees what
   CUDA_VISIBLE_DEVICES names, adds on the host, and like the real one it does not outlive a fork. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_INITIALISED = 3, NO_DEVICE = 100, INVALID = 1, MOST = 8 };

static int names[MOST], count;
static pid_t owner;

#define ALIVE if (owner != getpid()) return NOT_INITIALISED

int cuInit(unsigned flags) {
    if (owner && owner != getpid()) return NOT_INITIALISED;
    const char *said = getenv("CUDA_VISIBLE_DEVICES");
    count = 0;
    for (const char *at = said ? said : "0,1"; *at && count < MOST; at += strcspn(at, ",") + (strchr(at, ',') != NULL))
        names[count++] = atoi(at);
    if (!count) return NO_DEVICE;
    owner = getpid();
    return OK;
}

int cuDeviceGetCount(int *found) { ALIVE; *found = count; return OK; }
int cuDeviceGet(int *device, int ordinal) { ALIVE; *device = ordinal; return ordinal < count ? OK : INVALID; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) { ALIVE; memset(uuid, names[device], 16); return OK; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { ALIVE; *context = &owner; return OK; }
int cuCtxDestroy_v2(void *context) { ALIVE; return context == &owner ? OK : INVALID; }
int cuModuleLoadData(void **module, const char *text) { ALIVE; *module = &count; return strstr(text, ".entry add(") ? OK : INVALID; }
int cuModuleGetFunction(void **function, void *module, const char *name) { ALIVE; *function = names; return strcmp(name, "add") ? INVALID : OK; }
int cuMemAlloc_v2(uint64_t *pointer, size_t size) { ALIVE; *pointer = (uint64_t)malloc(size); return OK; }
int cuMemFree_v2(uint64_t pointer) { ALIVE; free((void *)pointer); return OK; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { ALIVE; memcpy((void *)to, from, size); return OK; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { ALIVE; memcpy(to, (void *)from, size); return OK; }
int cuCtxSynchronize(void) { ALIVE; return OK; }

int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared, void *stream, void **given, void **extra) {
    ALIVE;
    const float *a = *(float **)given[0], *b = *(float **)given[1];
    float *c = *(float **)given[2];
    uint32_t number = *(uint32_t *)given[3];
    for (uint32_t i = 0; i < x * threads && i < number; i++) c[i] = a[i] + b[i];
    return function == names ? OK : INVALID;
}
