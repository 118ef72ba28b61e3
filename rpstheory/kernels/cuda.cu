// Draws of a mapping on a GPU, bit-equal to rpstheory/hashing.py; launched by cuda.py.
//
// A block is written as phases: EACH_THREAD, or EACH_LANE of a warp, is one statement that every
// thread carries out before any begins the next. What passes between phases lies in shared memory.
// With the macros of tests/core/test_cuda_source.py the same text is plain C++, and one thread plays
// them all.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;

#ifndef ONE_THREAD_PLAYS_ALL
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define SHARED extern __shared__ double2
#define EACH_THREAD(i) \
    for (int i = threadIdx.x, open_ = 1; open_; open_ = 0, __syncthreads())
#define EACH_WARP(w) for (int w = threadIdx.x / 32, open_ = 1; open_; open_ = 0)
#define EACH_LANE(i) for (int i = threadIdx.x % 32, open_ = 1; open_; open_ = 0, __syncwarp())
#define ADD_TO(address, value) atomicAdd(address, value)
#define BITS_OF(number) __double_as_longlong(number)
#define NUMBER_OF(bits) __longlong_as_double(bits)
// One instruction, where the compiler would multiply 64-bit words.
DEVICE u64 multiply_add(u32 a, u32 b, u64 c) {
    u64 sum;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(sum) : "r"(a), "r"(b), "l"(c));
    return sum;
}
#endif

#define P 2147483647u
#define GOLDEN 0x9E3779B97F4A7C15ull
#define NARROW (1 << 20)
#define PER_STREAM 16
#define KEEP_STREAM 3
#define CELLS 4            // cells a lane sums at once, 32 apart
#define PAD (32 * CELLS)   // entries a lap is longer in shared memory, so that none of them wraps
#define SPARE 14           // words read behind the last lap: PAD + 32 bits more, and from any bit on

// ------------------------------------------------------------------------------------ the hash

DEVICE u64 mix(u64 word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
    return word ^ (word >> 31);
}

DEVICE u32 coefficient(u64 seed, int number) {
    return (u32)(mix(mix(seed + GOLDEN) + (u64)(number + 1) * GOLDEN) % P);
}

DEVICE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }

// The same mod P, below 2^32 while the value is below 2^62.
DEVICE u32 shorter(u64 value) { return (u32)(value & P) + (u32)(value >> 31); }

// The cubic at v < 2^30: no step reaches 2 P.
DEVICE u32 horner(const u32 *c, u32 v) {
    u32 value = shorter(multiply_add(c[3], v, c[2]));
    value = shorter(multiply_add(value, v, c[1]));
    value = shorter(multiply_add(value, v, c[0]));
    return smaller(value, value - P);
}

// value * size / P, for size <= 2^20.
DEVICE u32 scaled(u32 value, u32 size) {
    u64 product = multiply_add(value, size, 0);
    return (u32)((product + (product >> 31) + 1) >> 31);
}

// c: twelve coefficients, of the signs, the starts and the starts' low halves.
DEVICE int start_of(const u32 *c, u32 chunk, u32 starts) {
    u32 high = horner(c + 4, chunk);
    if (starts <= NARROW) return (int)scaled(high, starts);
    return (int)(((u64)high * P + horner(c + 8, chunk)) % starts);
}

DEVICE u32 sign_bit(const u16 *words, int position) {
    return (u32)words[position >> 4] >> (position & 15) & 1;
}

DEVICE double flipped(double number, u32 top) {
    return NUMBER_OF(BITS_OF(number) ^ (long long)((u64)top << 32));
}

// ------------------------------------------------------------------------------------ the fold
//
// A warp makes a draw; x and y lie in shared memory for all of them. Laps are rows of m + PAD entries
// and bits whose last PAD repeat the first.

DEVICE u32 bits_from(const u16 *words, int position) {
    const u16 *at = words + (position >> 4);
    u64 bits = (u64)at[2] << 32 | (u32)at[1] << 16 | at[0];
    return (u32)(bits >> (position & 15));
}

// 32 signs from entry `at` of the row that begins at position `lap`. Every lane with a cell turns
// at most once; what lies further is not used.
DEVICE u32 window(const u16 *words, int lap, int at, int m) {
    at = at < m ? at : at - m;
    u32 bits = bits_from(words, lap + at);
    if (m - at < 32) {
        u32 inside = at < m ? (1u << (m - at)) - 1 : 0u;
        bits = (bits & inside) | (at < m ? bits_from(words, lap) << (m - at) : 0u);
    }
    return bits;
}

KERNEL fold_staged(const double *x, const double *y, int n, int m, u64 first, int count,
                   double *out) {
    SHARED arena[];
    const int laps = (n + m - 1) / m, row = m + PAD, row_words = (row + 31) / 32;
    const int sign_words = (n + 15) / 16, warps = blockDim.x / 32;
    EACH_THREAD(i) {
        for (int p = i; p < laps * row; p += blockDim.x) {
            int lap = p / row, at = p % row < m ? p % row : p % row - m;
            bool inside = at < m && lap * m + at < n;
            arena[p].x = inside ? x[lap * m + at] : 0.0;
            arena[p].y = inside ? y[lap * m + at] : 0.0;
        }
    }
    // Of each warp: sums, coefficients, begins, rows of signs, signs in one piece.
    const int own = 32 * 8 + 12 * 4 + laps * 4 + laps * row_words * 4 + (laps * m / 16 + SPARE) * 2;
    EACH_WARP(warp) {
        double *sums = (double *)((char *)(arena + laps * row) + warp * ((own + 7) / 8 * 8));
        u32 *c = (u32 *)(sums + 32), *begins = c + 12, *rows = begins + laps;
        u16 *words = (u16 *)(rows + laps * row_words);
        for (int draw = blockIdx.x * warps + warp; draw < count; draw += gridDim.x * warps) {
            EACH_LANE(i) {
                if (i < 12) c[i] = coefficient(first + draw, PER_STREAM * (i / 4) + i % 4);
            }
            EACH_LANE(i) {
                for (int t = i; t < sign_words; t += 32) words[t] = (u16)horner(c, t);
                for (int lap = i; lap < laps; lap += 32) {
                    int shift = start_of(c, lap, m);
                    begins[lap] = shift ? m - shift : 0;
                }
            }
            EACH_LANE(i) {
                for (int lap = 0; lap < laps; lap++)
                    for (int t = i; t < row_words; t += 32)
                        rows[lap * row_words + t] = window(words, lap * m, 32 * t, m);
            }
            EACH_LANE(i) {
                double total = 0.0;
                for (int cell = 0; cell < m; cell += PAD) {
                    double a[CELLS] = {0.0}, b[CELLS] = {0.0};
                    const double2 *entries = arena;
                    const u32 *bits = rows;
                    for (int lap = 0; lap < laps; lap++, entries += row, bits += row_words) {
                        u32 at = cell + begins[lap];
                        at = (at < m ? at : at - m) + i;
#pragma unroll
                        for (int k = 0; k < CELLS; k++) {
                            double2 pair = entries[at + 32 * k];
                            u32 top = bits[at / 32 + k] << (31 - at % 32) & 0x80000000u;
                            a[k] += flipped(pair.x, top);
                            b[k] += flipped(pair.y, top);
                        }
                    }
#pragma unroll
                    for (int k = 0; k < CELLS; k++)
                        if (cell + i + 32 * k < m) total += a[k] * b[k];
                }
                sums[i] = total;
            }
            for (int half = 16; half; half /= 2)
                EACH_LANE(i) {
                    if (i < half) sums[i] += sums[i + half];
                }
            EACH_LANE(i) {
                if (i == 0) out[draw] = sums[0];
            }
        }
    }
}

// ------------------------------------------------------------------------------------ blocks
//
// A block makes a draw; its space lies in shared memory, or in `far` where that is too small. x and y
// are read where they are: one row each, or (step = n) a row per draw.

DEVICE void add_up(double *sums, double *result) {
    for (int half = blockDim.x / 2; half; half /= 2)
        EACH_THREAD(i) {
            if (i < half) sums[i] += sums[i + half];
        }
    EACH_THREAD(i) {
        if (i == 0) *result = sums[0];
    }
}

DEVICE void draw_signs(u64 seed, int n, u32 *c, u16 *words) {
    EACH_THREAD(i) {
        if (i < 12) c[i] = coefficient(seed, PER_STREAM * (i / 4) + i % 4);
    }
    EACH_THREAD(i) {
        for (int t = i; t < (n + 15) / 16; t += blockDim.x) words[t] = (u16)horner(c, t);
    }
}

KERNEL fold(const double *x, const double *y, int step_x, int step_y, int n, int m, u64 first,
            int count, char *far, u64 bytes, double *out) {
    SHARED arena[];
    const int laps = (n + m - 1) / m;
    double *sums = far ? (double *)(far + blockIdx.x * bytes) : (double *)arena;
    u32 *c = (u32 *)(sums + blockDim.x), *begins = c + 12;
    u16 *words = (u16 *)(begins + laps);
    for (int draw = blockIdx.x; draw < count; draw += gridDim.x) {
        const double *this_x = x + (u64)draw * step_x, *this_y = y + (u64)draw * step_y;
        draw_signs(first + draw, n, c, words);
        EACH_THREAD(i) {
            for (int lap = i; lap < laps; lap += blockDim.x) {
                int shift = start_of(c, lap, m);
                begins[lap] = shift ? m - shift : 0;
            }
        }
        EACH_THREAD(i) {
            double total = 0.0;
            for (int cell = i; cell < m; cell += blockDim.x) {
                double a = 0.0, b = 0.0;
                for (int lap = 0; lap < laps; lap++) {
                    int at = cell + (int)begins[lap];
                    int position = lap * m + (at < m ? at : at - m);
                    if (position < n) {
                        u32 top = sign_bit(words, position) << 31;
                        a += flipped(this_x[position], top);
                        b += flipped(this_y[position], top);
                    }
                }
                total += a * b;
            }
            sums[i] = total;
        }
        add_up(sums, out + draw);
    }
}

KERNEL scatter(const double *x, const double *y, int step_x, int step_y, int n, int m, int chunk,
               int starts, u64 first, int count, char *far, u64 bytes, double *out) {
    SHARED arena[];
    double *sums = far ? (double *)(far + blockIdx.x * bytes) : (double *)arena;
    double *table = sums + blockDim.x;
    u32 *c = (u32 *)(table + 2 * (u64)m);
    u16 *words = (u16 *)(c + 12);
    for (int draw = blockIdx.x; draw < count; draw += gridDim.x) {
        const double *this_x = x + (u64)draw * step_x, *this_y = y + (u64)draw * step_y;
        draw_signs(first + draw, n, c, words);
        EACH_THREAD(i) {
            for (int cell = i; cell < 2 * m; cell += blockDim.x) table[cell] = 0.0;
        }
        EACH_THREAD(i) {
            for (int position = i; position < n; position += blockDim.x) {
                int cell = start_of(c, position / chunk, starts) + position % chunk;
                cell = cell < m ? cell : cell - m;
                u32 top = sign_bit(words, position) << 31;
                ADD_TO(&table[2 * cell], flipped(this_x[position], top));
                ADD_TO(&table[2 * cell + 1], flipped(this_y[position], top));
            }
        }
        EACH_THREAD(i) {
            double total = 0.0;
            for (int cell = i; cell < m; cell += blockDim.x)
                total += table[2 * cell] * table[2 * cell + 1];
            sums[i] = total;
        }
        add_up(sums, out + draw);
    }
}

KERNEL draw_chunks(int n, int m, int chunk, int starts, u64 first, int count, char *far, u64 bytes,
                   long long *cells, long long *signs) {
    SHARED arena[];
    u32 *c = far ? (u32 *)(far + blockIdx.x * bytes) : (u32 *)arena;
    u16 *words = (u16 *)(c + 12);
    for (int draw = blockIdx.x; draw < count; draw += gridDim.x) {
        draw_signs(first + draw, n, c, words);
        EACH_THREAD(i) {
            for (int position = i; position < n; position += blockDim.x) {
                u64 at = (u64)draw * n + position;
                int cell = start_of(c, position / chunk, starts) + position % chunk;
                cells[at] = cell < m ? cell : cell - m;
                signs[at] = 1 - 2 * (long long)sign_bit(words, position);
            }
        }
    }
}

// ------------------------------------------------------------------------------------ keep
//
// turns: rounds of the permutation, whose square has this side; 0 for a Bernoulli draw, where the
// bound is on a weight's value, not on its place.

DEVICE void keep_coefficients(u64 seed, int turns, u32 *c) {
    EACH_THREAD(i) {
        for (int k = i; k < 4 * (turns ? turns : 2); k += blockDim.x)
            c[k] = coefficient(seed, PER_STREAM * (KEEP_STREAM + k / 4 * (turns ? 2 : 1)) + k % 4);
    }
}

DEVICE bool kept(const u32 *c, int turns, u32 side, u64 bound, u32 n, u32 position) {
    if (!turns) return (u64)horner(c, position) * P + horner(c + 4, position) < bound;
    u32 place = position;
    do {
        u32 left = place / side, right = place % side;
        for (int turn = 0; turn < turns; turn++) {
            u32 moved = left + scaled(horner(c + 4 * turn, right), side);
            left = right;
            right = smaller(moved, moved - side);
        }
        place = left * side + right;
    } while (place >= n);
    return place < bound;
}

KERNEL keep(const double *x, const double *y, int step_x, int step_y, int n, int turns, int side,
            u64 bound, u64 first, int count, double *out) {
    SHARED arena[];
    double *sums = (double *)arena;
    u32 *c = (u32 *)(sums + blockDim.x);
    for (int draw = blockIdx.x; draw < count; draw += gridDim.x) {
        const double *this_x = x + (u64)draw * step_x, *this_y = y + (u64)draw * step_y;
        keep_coefficients(first + draw, turns, c);
        EACH_THREAD(i) {
            double total = 0.0;
            for (int position = i; position < n; position += blockDim.x)
                if (kept(c, turns, side, bound, n, position))
                    total += this_x[position] * this_y[position];
            sums[i] = total;
        }
        add_up(sums, out + draw);
    }
}

KERNEL draw_keep(int n, int turns, int side, u64 bound, u64 first, int count, long long *signs) {
    SHARED arena[];
    u32 *c = (u32 *)arena;
    for (int draw = blockIdx.x; draw < count; draw += gridDim.x) {
        keep_coefficients(first + draw, turns, c);
        EACH_THREAD(i) {
            for (int position = i; position < n; position += blockDim.x)
                signs[(u64)draw * n + position] = kept(c, turns, side, bound, n, position);
        }
    }
}
