/* See plot.h. */
#include "bench/plot.h"

#include <math.h>

/* The frame of the data inside a chart. */
#define LEFT   76
#define RIGHT  520
#define TOP    44
#define BOTTOM 364

/* Eight colours that people with any colour vision tell apart (Okabe and Ito 2008); series beyond
 * them take the colours again with another mark. */
static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                      "#E69F00", "#56B4E9", "#000000", "#7F7F7F"};
#define N_COLOURS 8

struct axis {
    double low, high; /* whole powers of ten */
    double from, to;  /* in the drawing */
};

static double place(const struct axis *axis, double value)
{
    double part = log10(value / axis->low) / log10(axis->high / axis->low);
    return axis->from + part * (axis->to - axis->from);
}

static bool shown(const struct plot_series *series, int i)
{
    return series->x[i] > 0 && series->y[i] > 0 && isfinite(series->x[i]) && isfinite(series->y[i]);
}

/* Whole decades around all points; 1 to 10 where there is none. */
static void fit_axes(struct axis *x, struct axis *y, const struct plot *plot)
{
    *x = *y = (struct axis){.low = INFINITY, .high = 0};
    for (int s = 0; s < plot->n_series; s++)
        for (int i = 0; i < plot->series[s].n; i++) {
            if (!shown(&plot->series[s], i))
                continue;
            x->low = fmin(x->low, plot->series[s].x[i]);
            x->high = fmax(x->high, plot->series[s].x[i]);
            y->low = fmin(y->low, plot->series[s].y[i]);
            y->high = fmax(y->high, plot->series[s].y[i]);
        }
    struct axis *axes[] = {x, y};
    for (int i = 0; i < 2; i++) {
        if (axes[i]->high == 0)
            axes[i]->low = 1, axes[i]->high = 10;
        axes[i]->low = pow(10, floor(log10(axes[i]->low)));
        axes[i]->high = pow(10, ceil(log10(axes[i]->high)));
        if (axes[i]->high <= axes[i]->low)
            axes[i]->high = 10 * axes[i]->low;
    }
    x->from = LEFT, x->to = RIGHT;
    y->from = BOTTOM, y->to = TOP;
}

static void put_text(FILE *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        switch (*c) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*c < 0x20 ? ' ' : *c, out);
        }
}

static void text_at(FILE *out, double x, double y, const char *attributes, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    put_text(out, text);
    fputs("</text>\n", out);
}

/* "0.01", "1", "1000", then "10^4" with a raised exponent. */
static void tick_label(FILE *out, double x, double y, const char *anchor, double value)
{
    int exponent = (int)lround(log10(value));
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    if (exponent >= -2 && exponent <= 3)
        fprintf(out, "%g", value);
    else
        fprintf(out, "10<tspan dy=\"-5\" font-size=\"9\">%d</tspan>", exponent);
    fputs("</text>\n", out);
}

static void draw_axes(FILE *out, const struct axis *x, const struct axis *y)
{
    for (double value = x->low; value <= x->high * 1.001; value *= 10) {
        double at = place(x, value);
        fprintf(out, "<path d=\"M%.1f %dV%d\" stroke=\"#ddd\"/>\n", at, TOP, BOTTOM);
        tick_label(out, at, BOTTOM + 16, "middle", value);
    }
    for (double value = y->low; value <= y->high * 1.001; value *= 10) {
        double at = place(y, value);
        fprintf(out, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>\n", LEFT, at, RIGHT);
        tick_label(out, LEFT - 6, at + 4, "end", value);
    }
    fprintf(out, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#333\"/>\n", LEFT, TOP, BOTTOM,
            RIGHT);
}

/* A circle, a square or a triangle. */
static void mark(FILE *out, double x, double y, int kind, const char *colour)
{
    if (kind == 0)
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x, y, colour);
    else if (kind == 1)
        fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"%s\"/>\n",
                x - 3.5, y - 3.5, colour);
    else
        fprintf(out, "<path d=\"M%.1f %.1fl4 7h-8z\" fill=\"%s\"/>\n", x, y - 4, colour);
}

static void draw_series(FILE *out, const struct plot_series *series, int number,
                        const struct axis *x, const struct axis *y)
{
    const char *colour = colours[number % N_COLOURS];
    const char *step = "M";
    if (series->line) {
        fputs("<path d=\"", out);
        for (int i = 0; i < series->n; i++)
            if (shown(series, i)) {
                fprintf(out, "%s%.1f %.1f", step, place(x, series->x[i]), place(y, series->y[i]));
                step = "L";
            }
        fprintf(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", colour);
    }
    for (int i = 0; i < series->n; i++)
        if (shown(series, i))
            mark(out, place(x, series->x[i]), place(y, series->y[i]), number / N_COLOURS, colour);
    double at = TOP + 10 + 15 * number;
    mark(out, RIGHT + 16, at, number / N_COLOURS, colour);
    text_at(out, RIGHT + 26, at + 4, "", series->name);
}

void plot_begin(FILE *out, int n)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            PLOT_WIDTH, n * PLOT_HEIGHT, PLOT_WIDTH, n * PLOT_HEIGHT);
}

void plot_draw(FILE *out, const struct plot *plot, int index)
{
    struct axis x, y;
    fit_axes(&x, &y, plot);
    fprintf(out, "<g transform=\"translate(0 %d)\">\n", index * PLOT_HEIGHT);
    text_at(out, LEFT, 22, "font-size=\"14\" font-weight=\"bold\"", plot->title);
    draw_axes(out, &x, &y);
    text_at(out, (LEFT + RIGHT) / 2, BOTTOM + 38, "text-anchor=\"middle\"", plot->x_label);
    fprintf(out, "<g transform=\"rotate(-90)\">\n");
    text_at(out, -(TOP + BOTTOM) / 2, 20, "text-anchor=\"middle\"", plot->y_label);
    fputs("</g>\n", out);
    for (int i = 0; i < plot->n_series; i++)
        draw_series(out, &plot->series[i], i, &x, &y);
    fputs("</g>\n", out);
}

void plot_end(FILE *out)
{
    fputs("</svg>\n", out);
}
