/** Files from the user: dropped, pasted, or chosen. */

/**
 * Listen for files.
 *
 * @param {object} options
 * @param {HTMLInputElement[]} options.inputs file inputs.
 * @param {HTMLElement} options.hint shown while files are dragged over the page.
 * @param {(files: File[]) => void} options.onFiles
 * @param {(text: string) => void} options.onNothing told in words why a drop or paste held no file.
 */
export function listenForFiles({ inputs, hint, onFiles, onNothing }) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // so that the same file can be chosen again
      if (files.length) onFiles(files);
    });
  }
  listenForDrops(hint, onFiles, onNothing);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input:not([type=file]):not([type=range])")) return;
    event.preventDefault();
    const files = [...event.clipboardData.files];
    if (files.length) onFiles(files);
    else onNothing("The clipboard holds no image. Copy the image itself, not its address.");
  });
}

function listenForDrops(hint, onFiles, onNothing) {
  let depth = 0; // dragenter and dragleave come for every element that is passed
  const show = (isOver) => hint.classList.toggle("over", isOver);
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    show(true);
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    show(depth > 0);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    const files = [...event.dataTransfer.files];
    if (files.length) onFiles(files);
    else onNothing("What was dropped is no file. Save the image first, or copy and paste it.");
  });
}

/** Whether a file is to be played rather than looked at. */
export function isVideo(file) {
  return file.type.startsWith("video/");
}
