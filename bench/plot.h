/* Charts with two logarithmic axes, as SVG. */
#ifndef MIDASHI_BENCH_PLOT_H
#define MIDASHI_BENCH_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#define PLOT_SERIES 24

struct plot_series {
    const char *name; /* any UTF-8: it is escaped */
    const double *x, *y;
    int n;     /* points whose x or y is not positive are left out */
    bool line; /* joined by a line; else marks alone */
};

struct plot {
    const char *title, *x_label, *y_label;
    struct plot_series series[PLOT_SERIES];
    int n_series;
};

/* Where a chart of PLOT_WIDTH x PLOT_HEIGHT goes, its legend on the right included. */
#define PLOT_WIDTH  760
#define PLOT_HEIGHT 420

/* The head of a file of n charts, one below the other, then each of them, then the end. Errors of
 * writing stay in the stream. */
void plot_begin(FILE *out, int n);
void plot_draw(FILE *out, const struct plot *plot, int index);
void plot_end(FILE *out);

#endif
