import numpy as np
import pandas as pd
try:
    from tensorflow import keras
    from tensorflow.keras import layers
except ImportError as e:
    raise SystemExit(f"tensorflow is required: {e}")

train = pd.read_csv('input/train.csv')
x = train.drop(columns=['id', 'digit']).values.reshape(-1, 28, 28, 1) / 255.
y = keras.utils.to_categorical(train['digit'], 10)
model = keras.Sequential([
    layers.Conv2D(32, 3, activation='relu', input_shape=(28, 28, 1)),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(10, activation='softmax'),
])
model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(x, y, epochs=3, validation_split=0.1)
test = pd.read_csv('input/test.csv')
p = model.predict(test.drop(columns='id').values.reshape(-1, 28, 28, 1) / 255.).argmax(1)
pd.DataFrame({'id': test['id'], 'digit': p}).to_csv('submission.csv', index=False)
