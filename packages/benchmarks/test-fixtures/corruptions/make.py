"""Writes imagecorruptions.json: what the published corruptions make of a picture drawn by a formula.

    python -m venv v && v/bin/pip install numpy==1.26.4 scipy==1.11.4 scikit-image==0.20.0 \
        opencv-python-headless==4.8.1.78 pillow 'setuptools<81' && v/bin/pip install --no-deps imagecorruptions==1.1.2
    OMP_NUM_THREADS=1 v/bin/python make.py

Corruptions without chance: SHA-256 of the pixels and every 211th value. The others: mean, standard deviation, differences
at five distances and the histogram over 8 seeds, each statistic with its spread from seed to seed.
"""
import hashlib, json, pathlib, warnings
import numpy as np
warnings.simplefilter('ignore')
import cv2
import imagecorruptions.corruptions as published
from imagecorruptions import corrupt

cv2.setNumThreads(1)
filtered = published.gaussian
# scikit-image renamed this argument after the package was written.
published.gaussian = lambda x, sigma=1, multichannel=False, **rest: filtered(
    x, sigma=sigma, channel_axis=-1 if multichannel else None, **rest)

WIDTH, HEIGHT, SEEDS, STEP = 160, 128, 8, 211
FIXED = 'defocus_blur zoom_blur brightness contrast pixelate jpeg_compression gaussian_blur saturate'.split()
RANDOM = ('gaussian_noise shot_noise impulse_noise glass_blur motion_blur snow fog elastic_transform speckle_noise '
          'spatter').split()


def picture():
    """The same whole numbers as picture() in corruptions.test.ts."""
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for c in range(3):
                m = (x * (3 + c) * 5 + y * (7 - 2 * c) * 3) // 4 % 512
                v = m if m < 256 else 511 - m
                if (x - 50) ** 2 + (y - 45) ** 2 < 900: v = 230 - 60 * c
                if x >= 110 and y < 90: v = 40 + 50 * c if ((x >> 2) + (y >> 3)) & 1 else 200 - 40 * c
                if y >= 100: v = 255 if x < 60 else 0 if x >= 110 else v
                out[y, x, c] = v
    return out


def statistics(y):
    f = y.astype(float)
    lags = [float(np.sqrt(np.mean((f[:, lag:] - f[:, :-lag]) ** 2))) for lag in (1, 2, 4, 8, 16)]
    return [float(f.mean()), float(f.std()), *lags]


x = picture()
result = {'width': WIDTH, 'height': HEIGHT, 'step': STEP, 'picture': hashlib.sha256(x.tobytes()).hexdigest(),
          'fixed': {}, 'random': {}}
for name in FIXED:
    for severity in range(1, 6):
        y = corrupt(x, severity=severity, corruption_name=name)
        result['fixed'][f'{name}/{severity}'] = {
            'sha256': hashlib.sha256(y.tobytes()).hexdigest(), 'samples': y.reshape(-1)[::STEP].tolist()}
for name in RANDOM:
    for severity in (1, 3, 5):
        stats, histograms = [], []
        for seed in range(SEEDS):
            np.random.seed(1000 * severity + seed)
            y = corrupt(x, severity=severity, corruption_name=name)
            stats.append(statistics(y))
            histograms.append(np.bincount(y.reshape(-1) >> 4, minlength=16) / y.size)
        stats, histogram = np.array(stats), np.mean(histograms, axis=0)
        result['random'][f'{name}/{severity}'] = {
            'mean': stats.mean(0).round(4).tolist(), 'spread': stats.std(0, ddof=1).round(4).tolist(),
            'histogram': histogram.round(5).tolist(),
            'histogramSpread': round(float(np.mean([np.abs(h - histogram).sum() / 2 for h in histograms])), 5)}
path = pathlib.Path(__file__).with_name('imagecorruptions.json')
path.write_text(json.dumps(result, separators=(',', ':')).replace('},', '},\n') + '\n')
print(path.stat().st_size)
