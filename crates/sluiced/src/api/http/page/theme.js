// Light or dark: as the reader's system has it, unless they chose here.

const themeButton = byId('theme');
const systemDark = matchMedia('(prefers-color-scheme: dark)');

themeButton.addEventListener('click', () => {
  setTheme(isDark() ? 'light' : 'dark');
  try {
    localStorage.setItem('theme', isDark() ? 'dark' : 'light');
  } catch {
    // A browser without storage forgets it.
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
