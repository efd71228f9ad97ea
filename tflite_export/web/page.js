// The page: choose a model, speak or take a file, read.

import {loadLiteRt} from '@litertjs/core';
import {Recognizer} from './recognizer.js';

const PACKAGE = 'package/';
const SAMPLE_RATE = 16000;

const find = (id) => document.getElementById(id);
const show = (message) => {
  find('status').textContent = message;
};

let recognizer;
let microphone;
// One after the other: a chunk needs the state of the one before.
let work = Promise.resolve();

async function choose(entry, index) {
  find('speak').disabled = find('file').disabled = true;
  show(`Loading ${entry.recipe} …`);
  const started = performance.now();
  recognizer?.delete();
  recognizer = await Recognizer.load(PACKAGE, entry, index.labels);
  const seconds = (performance.now() - started) / 1000;
  show(`${entry.recipe} is ready (${seconds.toFixed(2)} s).`);
  find('speak').disabled = find('file').disabled = false;
}

function begin() {
  find('text').textContent = '';
  find('speed').textContent = '';
  return recognizer.stream();
}

function tell(stream, text) {
  find('text').textContent = text;
  if (stream.samples) {
    find('speed').textContent =
        `real-time factor ${stream.realTimeFactor.toFixed(4)}`;
  }
}

async function speak() {
  if (microphone) return stop();
  const context = new AudioContext({sampleRate: SAMPLE_RATE});
  await context.audioWorklet.addModule('capture.js');
  const source = await navigator.mediaDevices.getUserMedia({
    audio: {
      channelCount: 1,
      autoGainControl: false,
      echoCancellation: false,
      noiseSuppression: false,
    },
  });
  const capture = new AudioWorkletNode(context, 'capture');
  const stream = begin();
  microphone = {context, source, stream, pieces: []};
  capture.port.onmessage = ({data}) => {
    if (!microphone) return;  // What comes after Stop is not heard.
    microphone.pieces.push(data);
    work = work.then(() => stream.accept(data)).then(
        (text) => tell(stream, text), fail);
  };
  context.createMediaStreamSource(source).connect(capture);
  find('speak').textContent = 'Stop';
  show('Listening …');
}

async function stop() {
  const {context, source, stream, pieces} = microphone;
  microphone = undefined;
  for (const track of source.getTracks()) track.stop();
  await context.close();
  await work;
  tell(stream, await stream.finish());
  find('speak').textContent = 'Speak';
  keep(pieces);
  show('Done.');
}

// What was heard can be played and saved, to see what a mistake is due to: a WAV
// file of 32-bit floats, the very samples.
function keep(pieces) {
  const samples = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const bytes = new DataView(new ArrayBuffer(44 + 4 * samples));
  const text = (place, letters) => {
    for (let i = 0; i < letters.length; i++) {
      bytes.setUint8(place + i, letters.charCodeAt(i));
    }
  };
  text(0, 'RIFF');
  bytes.setUint32(4, 36 + 4 * samples, true);
  text(8, 'WAVEfmt ');
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 3, true);
  bytes.setUint16(22, 1, true);
  bytes.setUint32(24, SAMPLE_RATE, true);
  bytes.setUint32(28, 4 * SAMPLE_RATE, true);
  bytes.setUint16(32, 4, true);
  bytes.setUint16(34, 32, true);
  text(36, 'data');
  bytes.setUint32(40, 4 * samples, true);
  let place = 44;
  for (const piece of pieces) {
    for (const value of piece) {
      bytes.setFloat32(place, value, true);
      place += 4;
    }
  }
  URL.revokeObjectURL(find('heard').href);
  find('heard').href =
      URL.createObjectURL(new Blob([bytes.buffer], {type: 'audio/wav'}));
  find('heard').hidden = false;
}

async function takeFile() {
  const [file] = find('file').files;
  if (!file) return;
  show(`Reading ${file.name} …`);
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const stream = begin();
  const pcm = sound.getChannelData(0);
  for (let start = 0; start < pcm.length; start += SAMPLE_RATE / 10) {
    const piece = pcm.subarray(start, start + SAMPLE_RATE / 10);
    tell(stream, await stream.accept(piece));
  }
  tell(stream, await stream.finish());
  show('Done.');
}

function fail(error) {
  show(`Error: ${error.message}`);
}

async function main() {
  const answer = await fetch(`${PACKAGE}package.json`);
  if (!answer.ok) {
    throw new Error('found no package; serve this folder as it was made');
  }
  const index = await answer.json();
  for (const [number, entry] of index.models.entries()) {
    const option = document.createElement('option');
    const megabytes = index.files[entry.file].bytes / 1e6;
    option.value = number;
    option.textContent = `${entry.recipe}: ${megabytes.toFixed(2)} MB, word` +
        ` error rate ${(100 * entry.wer).toFixed(1)} %`;
    find('model').append(option);
  }
  await loadLiteRt('litert/wasm/');
  const chosen = () => choose(index.models[find('model').value], index);
  find('model').onchange = () => chosen().catch(fail);
  find('speak').onclick = () => speak().catch(fail);
  find('file').onchange = () => takeFile().catch(fail);
  await chosen();
}

main().catch(fail);
