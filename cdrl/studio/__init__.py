"""The generated corpus: people, acting, clips, true edits."""
