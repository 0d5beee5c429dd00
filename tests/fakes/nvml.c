/* A stand-in libnvidia-ml.so.1: as much of NVML as orch asks, with cards that a text file describes.

   The file is named by FAKE_NVML and read at every nvmlInit and at every question for memory. A line each, the later
   one wins; sizes in MiB, `-` where the driver does not tell. GPU is an index or `*`.

   driver VERSION | cuda NUMBER | gpus COUNT
   init CODE                          what nvmlInit returns; -2 never returns, -3 aborts
   gpu GPU KEY VALUE                  name uuid total reserved used util temp capability mode mig
   part GPU UUID                      one more MIG device of it
   link A B LEVEL                     the topology level of this pair (10 switch ... 50 system), or nvlink
   links LEVEL                        the level of all others
   process GPU PID MIB [sticky] [lag MS] [graphics|mps]
                                      it is on the card while it lives, or for good when sticky; its memory is in use
                                      until MS after it was first seen dead. Memory `-` is not told, and counts nothing
   fail CALL GPU CODE                 this call on this card returns CODE
*/

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HANG = -2, CRASH = -3, OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { CARDS = 16, PARTS = 8, ROWS = 256, TEXT = 96, ALL = -1 };
enum kind { COMPUTE, GRAPHICS, MPS };

#define MIB (1ULL << 20)
#define NOT_TOLD (~0ULL)

struct device {
    int index, part; /* part: of which MIG device this is the handle, or -1 */
};
struct card {
    char name[TEXT], uuid[TEXT], parts[PARTS][TEXT];
    unsigned long long total, reserved, used;
    int util, temp, major, minor, mode, mig, part_count;
};
struct row {
    int gpu, pid, kind, sticky, told;
    long lag;
    unsigned long long mib;
};
struct pair {
    int a, b, level, nvlink;
};
struct fault {
    char call[TEXT];
    int gpu, code;
};
struct memory {
    unsigned long long total, free, used;
};
struct memory_v2 {
    unsigned int version;
    unsigned long long total, reserved, free, used;
};
struct process {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance, compute_instance;
};
struct pci {
    char legacy[16];
    unsigned int domain, bus, device, id, subsystem;
    char address[32];
};
struct utilization {
    unsigned int gpu, memory;
};

static struct device devices[CARDS], part_devices[CARDS][PARTS];
static struct card cards[CARDS];
static struct row rows[ROWS];
static struct pair pairs[ROWS];
static struct fault faults[ROWS];
static int card_count, row_count, pair_count, fault_count, init_code, cuda, level, initialized;
static char driver[TEXT];

/* ------------------------------------------------------------------------------------------------- the script */

static void defaults(void) {
    memset(cards, 0, sizeof cards);
    card_count = 4, row_count = pair_count = fault_count = init_code = 0, cuda = 12040, level = 40;
    strcpy(driver, "550.54.15");
    for (int i = 0; i < CARDS; i++) {
        struct card *card = &cards[i];
        strcpy(card->name, "NVIDIA RTX 6000 Ada Generation");
        snprintf(card->uuid, TEXT, "GPU-%08x-0000-4000-8000-0000000000%02x", 0xada00000 + i, i);
        card->total = 49140, card->reserved = 500, card->used = 4;
        card->temp = 30, card->major = 8, card->minor = 9, card->mig = -1;
    }
}

static void set(struct card *card, const char *key, const char *value) {
    int number = strcmp(value, "-") ? atoi(value) : -1;
    if (!strcmp(key, "name")) snprintf(card->name, TEXT, "%s", value);
    else if (!strcmp(key, "uuid")) snprintf(card->uuid, TEXT, "%s", value);
    else if (!strcmp(key, "total")) card->total = number;
    else if (!strcmp(key, "reserved")) card->reserved = number;
    else if (!strcmp(key, "used")) card->used = number;
    else if (!strcmp(key, "util")) card->util = number;
    else if (!strcmp(key, "temp")) card->temp = number;
    else if (!strcmp(key, "mode")) card->mode = number;
    else if (!strcmp(key, "mig")) card->mig = number;
    else if (!strcmp(key, "capability")) sscanf(value, "%d.%d", &card->major, &card->minor);
}

static void add_process(int gpu, char *rest) {
    char memory[TEXT], *word, *next;
    int end = 0;
    struct row row = {.gpu = gpu, .kind = COMPUTE};
    if (row_count == ROWS || sscanf(rest, "%d %95s%n", &row.pid, memory, &end) != 2) return;
    row.told = strcmp(memory, "-") != 0;
    row.mib = row.told ? strtoull(memory, NULL, 10) : 0;
    for (word = strtok_r(rest + end, " ", &next); word; word = strtok_r(NULL, " ", &next)) {
        if (!strcmp(word, "sticky")) row.sticky = 1;
        else if (!strcmp(word, "graphics")) row.kind = GRAPHICS;
        else if (!strcmp(word, "mps")) row.kind = MPS;
        else if (!strcmp(word, "lag") && (word = strtok_r(NULL, " ", &next))) row.lag = atol(word);
        else if (!word) break;
    }
    rows[row_count++] = row;
}

static int number_or_all(const char *text) { return strcmp(text, "*") ? atoi(text) : ALL; }

static int chosen(int wanted, int index) { return wanted == ALL || wanted == index; }

static void read_line(char *line) {
    char first[TEXT], second[TEXT], third[TEXT];
    int end = 0, count = sscanf(line, "%95s %95s%n", first, second, &end);
    char *rest = line + end + strspn(line + end, " ");
    if (count < 2) return;
    int gpu = number_or_all(second);
    if (!strcmp(first, "driver")) strcpy(driver, second);
    else if (!strcmp(first, "cuda")) cuda = gpu;
    else if (!strcmp(first, "gpus")) card_count = gpu < CARDS ? gpu : CARDS;
    else if (!strcmp(first, "init")) init_code = gpu;
    else if (!strcmp(first, "links")) level = gpu;
    else if (!strcmp(first, "process")) add_process(gpu, rest);
    else if (!strcmp(first, "gpu") && sscanf(rest, "%95s%n", third, &end) == 1) {
        for (int i = 0; i < CARDS; i++)
            if (chosen(gpu, i)) set(&cards[i], third, rest + end + strspn(rest + end, " "));
    } else if (!strcmp(first, "part") && gpu >= 0 && gpu < CARDS && cards[gpu].part_count < PARTS) {
        snprintf(cards[gpu].parts[cards[gpu].part_count++], TEXT, "%s", rest);
    } else if (!strcmp(first, "link") && pair_count < ROWS) {
        struct pair pair = {.a = gpu, .level = ALL};
        if (sscanf(rest, "%d %95s", &pair.b, third) != 2) return;
        pair.nvlink = !strcmp(third, "nvlink");
        if (!pair.nvlink) pair.level = atoi(third);
        pairs[pair_count++] = pair;
    } else if (!strcmp(first, "fail") && fault_count < ROWS) {
        struct fault fault = {.gpu = ALL};
        if (sscanf(rest, "%95s %d", third, &fault.code) != 2) return;
        strcpy(fault.call, second);
        fault.gpu = number_or_all(third);
        faults[fault_count++] = fault;
    }
}

static void read_script(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[512];
    defaults();
    while (file && fgets(line, sizeof line, file)) {
        if (!strchr(line, '\n')) break; /* still being written */
        line[strcspn(line, "\r\n")] = 0;
        read_line(line);
    }
    if (file) fclose(file);
    for (int i = 0; i < CARDS; i++) {
        devices[i] = (struct device){i, -1};
        for (int j = 0; j < PARTS; j++) part_devices[i][j] = (struct device){i, j};
    }
}

static int failure(const char *call, int gpu) {
    int code = initialized ? OK : UNINITIALIZED;
    for (int i = 0; i < fault_count; i++)
        if (!strcmp(faults[i].call, call) && chosen(faults[i].gpu, gpu)) code = faults[i].code;
    return code;
}

#define CHECK(gpu)                              \
    do {                                        \
        int code = failure(__func__, gpu);      \
        if (code) return code;                  \
    } while (0)

/* --------------------------------------------------------------------------------------------- who holds memory */

static int lives(int pid) {
    char path[64], text[512], state = 0, *name_end;
    if (kill(pid, 0) && errno == ESRCH) return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file && fgets(text, sizeof text, file) && (name_end = strrchr(text, ')'))) sscanf(name_end + 1, " %c", &state);
    if (file) fclose(file);
    return state != 'Z' && state != 'X'; /* what nobody waited for holds no memory */
}

/* Milliseconds since the death of a process was first seen by anyone: a file beside the script remembers it. */
static long dead_for(int pid) {
    char path[1024];
    struct stat mark;
    struct timespec now;
    snprintf(path, sizeof path, "%s.%d.gone", getenv("FAKE_NVML"), pid);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0) close(fd);
    if (stat(path, &mark)) return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    return (now.tv_sec - mark.st_mtim.tv_sec) * 1000 + (now.tv_nsec - mark.st_mtim.tv_nsec) / 1000000;
}

static int shown(const struct row *row) { return row->sticky || lives(row->pid); }

static int holds(const struct row *row) { return shown(row) || (row->lag && dead_for(row->pid) < row->lag); }

/* One that computes and draws is listed as both, each time with all it has. */
static int repeated(int i) {
    for (int j = 0; j < i; j++)
        if (rows[j].gpu == rows[i].gpu && rows[j].pid == rows[i].pid && rows[j].told) return rows[j].kind != rows[i].kind;
    return 0;
}

static unsigned long long used(int index) {
    unsigned long long sum = cards[index].used;
    for (int i = 0; i < row_count; i++)
        if (rows[i].gpu == index && !repeated(i) && holds(&rows[i])) sum += rows[i].mib;
    return sum;
}

static int processes(const struct device *device, int kind, unsigned int *count, struct process *out) {
    unsigned int room = *count, found = 0;
    for (int i = 0; i < row_count; i++) {
        if (rows[i].gpu != device->index || rows[i].kind != kind || !shown(&rows[i])) continue;
        if (out && found < room) {
            unsigned long long bytes = rows[i].told ? rows[i].mib * MIB : NOT_TOLD;
            out[found] = (struct process){rows[i].pid, bytes, ~0U, ~0U};
        }
        found++;
    }
    *count = found;
    return found > room || (found && !out) ? TOO_SMALL : OK;
}

/* -------------------------------------------------------------------------------------------------------- NVML */

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    read_script();
    while (init_code == HANG) pause();
    if (init_code == CRASH) abort();
    initialized = !init_code;
    return init_code;
}

int nvmlShutdown(void) {
    const char *path = getenv("FAKE_NVML");
    char mark[1024];
    CHECK(ALL);
    initialized = 0;
    snprintf(mark, sizeof mark, "%s.shutdown", path ? path : "/nowhere");
    int fd = path ? open(mark, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        if (write(fd, ".", 1) != 1) abort();
        close(fd);
    }
    return OK;
}

static int text(char *out, unsigned int length, const char *value) {
    snprintf(out, length, "%s", value);
    return OK;
}

int nvmlSystemGetDriverVersion(char *out, unsigned int length) {
    CHECK(ALL);
    return text(out, length, driver);
}

int nvmlSystemGetCudaDriverVersion(int *out) {
    CHECK(ALL);
    *out = cuda;
    return OK;
}

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    CHECK(ALL);
    *out = cuda;
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned int *out) {
    CHECK(ALL);
    *out = card_count;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct device **out) {
    CHECK((int)index);
    if ((int)index >= card_count) return INVALID;
    *out = &devices[index];
    return OK;
}

int nvmlDeviceGetName(struct device *device, char *out, unsigned int length) {
    CHECK(device->index);
    return text(out, length, cards[device->index].name);
}

int nvmlDeviceGetUUID(struct device *device, char *out, unsigned int length) {
    const struct card *card = &cards[device->index];
    CHECK(device->index);
    return text(out, length, device->part < 0 ? card->uuid : card->parts[device->part]);
}

int nvmlDeviceGetMemoryInfo(struct device *device, struct memory *out) {
    const struct card *card = &cards[device->index];
    read_script();
    CHECK(device->index);
    out->total = card->total * MIB;
    out->used = (card->reserved + used(device->index)) * MIB;
    out->free = out->total - out->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory_v2 *out) {
    const struct card *card = &cards[device->index];
    read_script();
    CHECK(device->index);
    if (out->version != (sizeof *out | 2U << 24)) return 25;
    out->total = card->total * MIB;
    out->reserved = card->reserved * MIB;
    out->used = used(device->index) * MIB;
    out->free = out->total - out->reserved - out->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(struct device *device, struct utilization *out) {
    CHECK(device->index);
    if (cards[device->index].util < 0) return UNSUPPORTED;
    out->gpu = cards[device->index].util, out->memory = 0;
    return OK;
}

int nvmlDeviceGetTemperature(struct device *device, unsigned int sensor, unsigned int *out) {
    CHECK(device->index);
    if (cards[device->index].temp < 0 || sensor) return UNSUPPORTED;
    *out = cards[device->index].temp;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor) {
    CHECK(device->index);
    *major = cards[device->index].major, *minor = cards[device->index].minor;
    return OK;
}

int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci *out) {
    CHECK(device->index);
    memset(out, 0, sizeof *out);
    out->bus = 1 + 0x20 * device->index;
    snprintf(out->address, sizeof out->address, "00000000:%02X:00.0", out->bus);
    return OK;
}

int nvmlDeviceGetComputeMode(struct device *device, unsigned int *out) {
    CHECK(device->index);
    *out = cards[device->index].mode;
    return OK;
}

int nvmlDeviceGetMigMode(struct device *device, unsigned int *current, unsigned int *pending) {
    CHECK(device->index);
    if (cards[device->index].mig < 0) return UNSUPPORTED;
    *current = *pending = cards[device->index].mig;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned int *out) {
    CHECK(device->index);
    *out = PARTS;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned int index, struct device **out) {
    CHECK(device->index);
    if ((int)index >= cards[device->index].part_count) return NOT_FOUND;
    *out = &part_devices[device->index][index];
    return OK;
}

#define PROCESSES(call, kind)                                                             \
    int call(struct device *device, unsigned int *count, struct process *out) {          \
        CHECK(device->index);                                                             \
        return processes(device, kind, count, out);                                       \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE)
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS)
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS)
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS)

static const struct pair *between(int a, int b) {
    for (int i = pair_count - 1; i >= 0; i--)
        if ((pairs[i].a == a && pairs[i].b == b) || (pairs[i].a == b && pairs[i].b == a)) return &pairs[i];
    return NULL;
}

int nvmlDeviceGetTopologyCommonAncestor(struct device *one, struct device *other, unsigned int *out) {
    const struct pair *pair = between(one->index, other->index);
    CHECK(one->index);
    *out = pair && pair->level >= 0 ? pair->level : level;
    return OK;
}

int nvmlDeviceGetP2PStatus(struct device *one, struct device *other, unsigned int kind, unsigned int *out) {
    const struct pair *pair = between(one->index, other->index);
    CHECK(one->index);
    *out = kind == 2 && pair && pair->nvlink ? 0 : 5; /* NVML_P2P_STATUS_NOT_SUPPORTED */
    return OK;
}
