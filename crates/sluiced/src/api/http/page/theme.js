// Light or dark colours: as set in the reader's system, unless selected here.

const themeButton = byId('theme');
const systemDark = matchMedia('(prefers-color-scheme: dark)');

themeButton.addEventListener('click', () => {
  setTheme(isDark() ? 'light' : 'dark');
  try {
    localStorage.setItem('theme', isDark() ? 'dark' : 'light');
  } catch {
    // Without storage the selection is lost.
  }
});
systemDark.addEventListener('change', nameTheme);
try {
  setTheme(localStorage.getItem('theme'));
} catch {
  nameTheme();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : systemDark.matches;
}

function setTheme(theme) {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  nameTheme();
}

function nameTheme() {
  const other = isDark() ? 'Light' : 'Dark';
  text(themeButton, other);
  attribute(themeButton, 'aria-label', `${other} colours`);
}
