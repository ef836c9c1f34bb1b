/* See product_shape.h.
 *
 * The model: a tile's step of 64 columns keeps a multiprocessor busy as long as the slowest of
 * tensor cores, shared memory and its share of L2 does, and a part of the others. The grid runs in
 * waves, each as long as a full one. Constants are those of the cards' documents (docs/softcuda.md
 * says what they rest on); what they decide is speed, not results. */
#include "kernels/product_shape.h"

#include "host/base/divide_up.h"

#define K_STEP 64
/* Elements of X and Y for whose sake CTAs go down so far before they go on to the next columns. */
#define TALL_ROWS 1024

struct rates {
    double macs;     /* of mma.sync, a clock and multiprocessor */
    double l2_bytes; /* likewise */
    int shared;      /* bytes of a multiprocessor */
};

static struct rates rates_of(const struct cuda_info *info)
{
    switch (10 * info->major + info->minor) {
    case 80:
        return (struct rates){1024, 32, 164 << 10};
    case 90:
        return (struct rates){1173, 21, 228 << 10};
    }
    return (struct rates){256, 16, 100 << 10}; /* GeForce of 8.6 and later */
}

/* What does not overlap with the slowest: a part of the others, twice that where a multiprocessor
 * has 4 warps only, one for each of its schedulers; and a barrier with the first ldmatrix and mma
 * behind it. These are guesses, on the side of large tiles and of several warps. */
#define NOT_OVERLAPPED 0.25
#define STEP_START     60.0 /* clocks */
/* Nor can a step follow the one before faster than this, on a multiprocessor with little to do. */
#define STEP_LEAST 250.0

/* Of `side` CTAs side by side. */
static double step_clocks(const struct product_shape *shape, const struct product_weight *weight,
                          const struct rates *rates, int side)
{
    double rows = shape->rows, columns = shape->columns;
    double tensor = rows * columns * K_STEP / rates->macs;
    double shared = rows * (1 + shape->warps_wide) +
                    columns * (weight->wavefronts + weight->wavefronts_warp * shape->warps_high);
    double l2 = (2 * K_STEP * rows + weight->bytes * columns) / rates->l2_bytes;
    double most = tensor > shared ? tensor : shared;
    most = most > l2 ? most : l2;
    double rest = NOT_OVERLAPPED * (tensor + shared + l2 - most);
    if (side * shape->warps_high * shape->warps_wide < 8)
        rest *= 2;
    double clocks = side * (most + rest + STEP_START);
    return clocks > STEP_LEAST ? clocks : STEP_LEAST;
}

unsigned product_shared_bytes(const struct product_shape *shape,
                              const struct product_weight *weight)
{
    int stage = 2 * K_STEP * shape->rows + weight->stage_bytes * shape->columns;
    return (unsigned)(shape->stages * stage + weight->more_bytes * shape->columns);
}

int product_shape_choose(const struct product_shape *shapes, int n_shapes,
                         const struct product_weight *weight, const struct cuda_info *info, int m,
                         int width)
{
    struct rates rates = rates_of(info);
    int best = 0;
    double least = 0;
    m = m > 0 ? m : 1;
    for (int i = 0; i < n_shapes; i++) {
        int64_t n = divide_up(m, shapes[i].rows) * divide_up(width, shapes[i].columns);
        /* 1 KB of each CTA is the system's. */
        int64_t fit = rates.shared / ((int)product_shared_bytes(&shapes[i], weight) + 1024);
        fit = fit < shapes[i].side_by_side ? fit : shapes[i].side_by_side;
        int64_t side = divide_up(n, info->n_sms) < fit ? divide_up(n, info->n_sms) : fit;
        int64_t waves = divide_up(n, side * info->n_sms);
        double all = (double)waves * step_clocks(&shapes[i], weight, &rates, (int)side);
        if (i == 0 || all < least)
            least = all, best = i;
    }
    return best;
}

void product_set_low_rank(struct product *product, const struct lora_parts *parts, const void *s)
{
    product->low_rank.s = s;
    if (parts)
        product->low_rank.parts = *parts;
    else
        product->low_rank.parts.n_parts = 0;
}

enum status product_launch(struct cuda_device *cuda, const char *image,
                           const struct product_shape *shape, const struct product_weight *weight,
                           struct product *product, int width, void *weight_argument,
                           struct err *err)
{
    void *values[] = {product, weight_argument};
    int64_t down = divide_up(product->m, shape->rows), across = divide_up(width, shape->columns);
    int tall = TALL_ROWS / shape->rows;
    product->tall = tall < down ? tall : (int)down;
    if (down * across > INT32_MAX)
        return err_set(err, STATUS_RESOURCE, "%s: %d rows are too many at once", image, product->m);
    return cuda_launch(cuda,
                       &(struct cuda_launch){
                           .image = image,
                           .name = shape->kernel,
                           .grid = {(unsigned)(down * across), 1, 1},
                           .block = {32 * (unsigned)(shape->warps_high * shape->warps_wide), 1, 1},
                           .shared = product_shared_bytes(shape, weight),
                           .values = values,
                       },
                       err);
}
