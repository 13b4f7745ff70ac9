/* Caffe's DetectionOutput layer for one image: `detection.reference` in C.
 *
 * Classes do not affect each other before the cut to keep_top_k, so candidates of all classes are visited in one order
 * of score, and the walk ends when keep_top_k boxes are kept. They are in a heap, best first (of equal scores the lower
 * class, then the lower box), so that only those that are visited are sorted and decoded; of many the best are split
 * off first, which is cheaper yet. Each visited candidate is compared with the kept boxes of its class. The arithmetic
 * is that of `coder.decode` and `boxes.iou`, operation by operation, in single precision.
 *
 * Only the stable interface of Python 3.11 is used: one build serves that version and all later ones.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SAFE_EXPONENT 60.0f /* e to this, times any default box, is far inside single precision */
#define BUCKETS 4096        /* by the first bits of a candidate's score: eight buckets for each power of 2 */
#define HEAD 1024           /* at least so many of the best are split off before they are ordered */

typedef struct {
    const float *offsets, *scores, *default_boxes, *variances;
    Py_ssize_t boxes, classes;    /* K and C: column 0 of the scores is background */
    Py_ssize_t variance_step;     /* 0: one row of variances for all boxes; 4: a row for each */
    float surely_background;      /* boxes whose background score is above this are skipped */
    float score_threshold, nms_threshold, nms_eta;
    Py_ssize_t top_k, keep_top_k; /* -1: all */
} Input;

typedef struct {
    float *boxes, *scores;
    int64_t *labels;
    Py_ssize_t capacity, count, dropped;
} Output;

typedef struct {
    uint64_t *keys;
    size_t count, room, in_bucket[BUCKETS];
} Candidates;

static void decode(const Input *in, size_t row, float *box)
{
    const float *offset = in->offsets + 4 * row, *defaults = in->default_boxes + 4 * row;
    const float *variance = in->variances + in->variance_step * row;
    for (int axis = 0; axis < 2; axis++) {
        float size = defaults[axis + 2] - defaults[axis];
        float centre = offset[axis] * variance[axis] * size + (defaults[axis] + defaults[axis + 2]) / 2;
        float half = expf(offset[axis + 2] * variance[axis + 2]) * size / 2;
        box[axis] = centre - half;
        box[axis + 2] = centre + half;
    }
}

static int is_finite(const float *values, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        bits &= 0x7f800000u; /* the exponent; all ones in infinities and what is not a number */
        largest = bits > largest ? bits : largest;
    }
    return largest != 0x7f800000u;
}

/* Whether all scores and the decoded box of a row are finite; decodes only where an offset is large. */
static int is_healthy(const Input *in, size_t row)
{
    const float *offset = in->offsets + 4 * row, *variance = in->variances + in->variance_step * row;
    float box[4];
    int tame = 1;
    if (!is_finite(in->scores + row * in->classes, in->classes))
        return 0;
    for (int i = 0; i < 4; i++)
        tame &= fabsf(offset[i] * variance[i]) < SAFE_EXPONENT && fabsf(offset[i]) < 1e30f;
    if (tame)
        return 1;
    decode(in, row, box);
    return is_finite(box, 4);
}

/* The greatest key comes first: by score, then by lower rank. */
static uint64_t key_of(float score, uint32_t rank)
{
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0: they are equal */
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~rank;
}

static float score_of(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float score;
    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    memcpy(&score, &bits, sizeof score);
    return score;
}

static size_t bucket_of(uint64_t key)
{
    return (size_t)(key >> 52);
}

static int make_room(Candidates *all, size_t more)
{
    if (all->room - all->count < more) {
        size_t room = 2 * all->room + more + 4096;
        uint64_t *keys = realloc(all->keys, room * sizeof *keys);
        if (!keys)
            return 0;
        all->keys = keys;
        all->room = room;
    }
    return 1;
}

/* Moves the best candidates, HEAD of them and those in the last one's bucket, to the front; returns their number. */
static size_t split_head(Candidates *all)
{
    size_t head = 0, bucket = BUCKETS, front = 0;
    if (all->count <= 2 * HEAD)
        return all->count;
    while (bucket > 0 && head < HEAD)
        head += all->in_bucket[--bucket];
    for (size_t i = 0; i < all->count && head < all->count; i++) {
        uint64_t key = all->keys[i];
        all->keys[i] = all->keys[front];
        all->keys[front] = key;
        front += bucket_of(key) >= bucket;
    }
    return head;
}

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t key = heap[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && heap[child + 1] > heap[child];
        if (heap[child] <= key)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

/* All candidates above the threshold, unordered; default boxes that are not finite are counted instead. */
static int gather(const Input *in, Candidates *all, Py_ssize_t *dropped)
{
    for (Py_ssize_t row = 0; row < in->boxes; row++) {
        const float *scores = in->scores + row * in->classes;
        if (scores[0] > in->surely_background)
            continue;
        if (!is_healthy(in, row)) {
            ++*dropped;
            continue;
        }
        if (!make_room(all, in->classes))
            return 0;
        for (Py_ssize_t label = 1; label < in->classes; label++) { /* no branch to mispredict */
            uint64_t key = key_of(scores[label], (uint32_t)((label - 1) * in->boxes + row));
            int passes = scores[label] > in->score_threshold;
            all->keys[all->count] = key;
            all->count += passes;
            all->in_bucket[bucket_of(key)] += passes;
        }
    }
    return 1;
}

/* Intersection over union; less than any threshold where two boxes have nothing in common. */
static float iou(const float *first, const float *second)
{
    float width = fminf(first[2], second[2]) - fmaxf(first[0], second[0]);
    float height = fminf(first[3], second[3]) - fmaxf(first[1], second[1]);
    if (!(width > 0 && height > 0))
        return -INFINITY;
    float common = width * height;
    float first_area = fmaxf(first[2] - first[0], 0) * fmaxf(first[3] - first[1], 0);
    float second_area = fmaxf(second[2] - second[0], 0) * fmaxf(second[3] - second[1], 0);
    float union_area = first_area + second_area - common;
    return common / (union_area < 1e-30f ? 1e-30f : union_area);
}

typedef struct {
    float threshold;
    Py_ssize_t visited, last_kept; /* last_kept: place of its newest box in the output, or -1 */
} ClassState;

/* Greedy non-maximum suppression of candidates that are no better than any before; `before[i]` is the box of the same
 * class that was kept before box i. */
static void keep_best(const Input *in, uint64_t *heap, size_t count, ClassState *classes, Py_ssize_t *before, Output *out)
{
    for (size_t at = count / 2; at-- > 0;)
        sift_down(heap, count, at);
    while (count && out->count < out->capacity) {
        uint64_t key = heap[0];
        heap[0] = heap[--count];
        sift_down(heap, count, 0);
        uint32_t rank = ~(uint32_t)key;
        size_t label = rank / (size_t)in->boxes;
        ClassState *state = classes + label;
        if (in->top_k >= 0 && state->visited >= in->top_k)
            continue;
        state->visited++;
        float *box = out->boxes + 4 * out->count;
        decode(in, rank % (size_t)in->boxes, box);
        Py_ssize_t other = state->threshold < 1 ? state->last_kept : -1; /* no IoU is above 1 */
        while (other >= 0) {
            float overlap = iou(box, out->boxes + 4 * other);
            if (overlap > state->threshold || overlap != overlap) /* not a number suppresses, as in Caffe */
                break;
            other = before[other];
        }
        if (other >= 0)
            continue;
        before[out->count] = state->last_kept;
        state->last_kept = out->count;
        out->scores[out->count] = score_of(key);
        out->labels[out->count++] = (int64_t)label;
        if (in->nms_eta < 1 && state->threshold > 0.5f)
            state->threshold *= in->nms_eta;
    }
}

static int detect(const Input *in, Output *out)
{
    Candidates *all = calloc(1, sizeof *all);
    ClassState *classes = malloc(in->classes * sizeof *classes);
    Py_ssize_t *before = malloc((out->capacity + 1) * sizeof *before);
    int ok = all && classes && before && gather(in, all, &out->dropped);
    if (ok) {
        size_t head = split_head(all);
        for (Py_ssize_t label = 0; label < in->classes; label++)
            classes[label] = (ClassState){in->nms_threshold, 0, -1};
        keep_best(in, all->keys, head, classes, before, out);
        if (out->count < out->capacity)
            keep_best(in, all->keys + head, all->count - head, classes, before, out);
    }
    if (all)
        free(all->keys);
    free(all);
    free(classes);
    free(before);
    return ok;
}

static PyObject *detection_output(PyObject *module, PyObject *args)
{
    enum { OFFSETS, SCORES, DEFAULT_BOXES, VARIANCES, OUT_BOXES, OUT_SCORES, OUT_LABELS, BUFFERS };
    Py_buffer buffer[BUFFERS];
    PyObject *objects[BUFFERS], *result = NULL;
    Input in;
    Output out = {0};
    int got = 0, done = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOfffnnfOOO", &objects[OFFSETS], &objects[SCORES], &objects[DEFAULT_BOXES],
                          &objects[VARIANCES], &in.surely_background, &in.score_threshold, &in.nms_threshold,
                          &in.top_k, &in.keep_top_k, &in.nms_eta, &objects[OUT_BOXES], &objects[OUT_SCORES],
                          &objects[OUT_LABELS]))
        return NULL;
    for (; got < BUFFERS; got++)
        if (PyObject_GetBuffer(objects[got], &buffer[got], got < OUT_BOXES ? PyBUF_SIMPLE : PyBUF_WRITABLE) < 0)
            goto release;
    in.offsets = buffer[OFFSETS].buf;
    in.scores = buffer[SCORES].buf;
    in.default_boxes = buffer[DEFAULT_BOXES].buf;
    in.variances = buffer[VARIANCES].buf;
    in.boxes = buffer[OFFSETS].len / 16;
    in.classes = in.boxes ? buffer[SCORES].len / 4 / in.boxes : 1;
    in.variance_step = buffer[VARIANCES].len == 16 ? 0 : 4;
    out.boxes = buffer[OUT_BOXES].buf;
    out.scores = buffer[OUT_SCORES].buf;
    out.labels = buffer[OUT_LABELS].buf;
    out.capacity = buffer[OUT_SCORES].len / 4;
    if (buffer[OFFSETS].len != in.boxes * 16 || buffer[SCORES].len != in.boxes * in.classes * 4 || in.classes < 1 ||
        buffer[DEFAULT_BOXES].len != in.boxes * 16 ||
        (in.variance_step && buffer[VARIANCES].len != in.boxes * 16) || buffer[OUT_BOXES].len != out.capacity * 16 ||
        buffer[OUT_LABELS].len != out.capacity * 8 || (uint64_t)in.boxes * in.classes > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "arrays of shapes that do not fit each other");
        goto release;
    }
    if (in.keep_top_k >= 0 && in.keep_top_k < out.capacity)
        out.capacity = in.keep_top_k;
    Py_BEGIN_ALLOW_THREADS
    done = detect(&in, &out);
    Py_END_ALLOW_THREADS
    result = done ? Py_BuildValue("nn", out.count, out.dropped) : PyErr_NoMemory();
release:
    while (got-- > 0)
        PyBuffer_Release(&buffer[got]);
    return result;
}

static PyMethodDef methods[] = {
    {"detection_output", detection_output, METH_VARARGS,
     "detection_output(offsets, scores, default_boxes, variances, surely_background, score_threshold, nms_threshold,\n"
     "                 top_k, keep_top_k, nms_eta, out_boxes, out_scores, out_labels) -> (count, dropped)\n\n"
     "Contiguous float32 arrays, out_labels int64; see detection.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_detection_output", NULL, -1, methods,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__detection_output(void)
{
    return PyModule_Create(&definition);
}
